# Records a real run for the pictures: training, certificate and answers, about five minutes on two idle cores.
# `sh tools/pictures/record.sh` from a checkout with its environment active; then `make pictures`.
set -e
root=/tmp/luthier-walk
export PYTHONPATH=$PWD LUTHIER_HOME=$root/home
rm -rf $root && mkdir -p $root/sea
cp trainer/examples/captain/train.jsonl $root/sea/captain.jsonl
sed 's/"train.jsonl"/"captain.jsonl"/; 1d' trainer/examples/captain/recipe.toml > $root/sea/captain.toml
cd $root/sea
luthier models import builtin
python - << 'END' # the look at the data that the new-run screen shows
from pathlib import Path
from jobs.job import wait
from trainer.data.inspection import start
from trainer.recipe import load
wait(start(load(Path("captain.toml"))), 120)
END
luthier train captain.toml --follow
until ls ../home/jobs/*/certificate.json; do sleep 5; done
luthier serve captain
until luthier chat base captain --temperature 0 --max-tokens 90 -p "What should I pack for a weekend in the mountains?"; do sleep 5; done
luthier stop captain-server || true
cd - && python -m tools.pictures.recorded_home
