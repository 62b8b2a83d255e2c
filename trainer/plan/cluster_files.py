"""Files for clusters: a recipe as a Slurm batch script or a SkyPilot task. Light.

Either runs the same command on each machine, `luthier train RECIPE`, with torchrun's own variables
around it (trainer.plan.placement): the machines meet at the first one's address. What only the user
knows, the account or the cloud, is FILL_IN at the top.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Literal

import msgspec

from jobs.home import home
from jobs.luthier_error import LuthierError
from jobs.spec import slug
from models import registry
from models.builtin import BUILTIN
from trainer.data.hub import HUB
from trainer.plan.autotune import needed
from trainer.plan.memory.cards import bytes_of
from trainer.plan.placement import share
from trainer.plan.plan import Plan, make_plan
from trainer.recipe import Recipe
from trainer.sweep import Sweep

Kind = Literal["slurm", "skypilot"]

_CORES_OF_A_GPU = 8
# The accelerators that SkyPilot names, by the gigabytes that they are sold with.
_ACCELERATORS = {
    "L4": 24,
    "A10G": 24,
    "RTX4090": 24,
    "A100": 40,
    "L40S": 48,
    "A100-80GB": 80,
    "H100": 80,
    "H200": 141,
}

_SLURM = """\
#!/bin/bash
#SBATCH --account=FILL_IN
#SBATCH --partition=FILL_IN
#SBATCH --job-name={name}
#SBATCH --nodes={machines}
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node={gpus}
#SBATCH --cpus-per-task={cores}
#SBATCH --time=24:00:00
#SBATCH --output={name}-%j.log
#SBATCH --signal=B:TERM@300
# Written by `luthier plan --emit slurm`. Fill in account and partition, then `sbatch FILE`.
# Every machine must see the folders of Luthier, of the recipe, its data and its model. Five minutes
# before the time is over the run saves a checkpoint and stops;
# `sbatch --export=ALL,RESUME=ID FILE` resumes from it.

export RECIPE={recipe}
export RUN={run}
export PYTHON={python}
export LUTHIER_HOME="${{LUTHIER_HOME:-{home}}}"
export RESUME="${{RESUME:-}}"
export PET_NNODES="$SLURM_NNODES"
export PET_MASTER_ADDR="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"
export PET_MASTER_PORT="$((20000 + SLURM_JOB_ID % 20000))"

# The first machine has your home, where the run and its result will be; each other one has a home
# of its own for this job.
export MACHINE='
export PET_NODE_RANK="$SLURM_NODEID"
own_home="$LUTHIER_HOME/machines/$SLURM_JOB_ID-$PET_NODE_RANK"
[ "$PET_NODE_RANK" = 0 ] || export LUTHIER_HOME="$own_home"
luthier() {{ "$PYTHON" -P -m tui.cli "$@"; }}
'
train() {{
    srun bash -c "$MACHINE"'
        if [ "$PET_NODE_RANK" = 0 ] && [ -n "$RESUME" ]; then luthier resume --follow "$RESUME"
        else luthier train --follow "$RECIPE"; fi'
}}
stop() {{
    srun --overlap bash -c "$MACHINE"'luthier stop "$RUN"'
}}

trap stop TERM
train &
wait $!  # a signal ends this wait at once
wait $!
code=$?
{certify}exit $code
"""
_CERTIFY_SLURM = """certify='luthier certify "$RUN"'
[ $code != 0 ] || srun --nodes=1 --ntasks=1 bash -c "$MACHINE$certify" || code=$?
"""

_SKYPILOT = """\
# Written by `luthier plan --emit skypilot`. Fill in the cloud, then run in Luthier's checkout:
#   sky launch FILE
# SkyPilot sends the recipe, its data and its model to the same paths as here. The result is on the
# first machine, in $LUTHIER_HOME/jobs:
#   rsync -a CLUSTER:{home}/jobs/ .
name: {name}
num_nodes: {machines}
resources:
  infra: FILL_IN  # aws, gcp, azure, k8s, ...
  accelerators: {accelerators}
  disk_size: {disk}
workdir: .
file_mounts:
{mounts}
envs:
  LUTHIER_HOME: {home}
setup: |
  sudo mkdir -p "$LUTHIER_HOME" && sudo chown -R "$USER" "$LUTHIER_HOME"
  make install SET=gpu
run: |
  export PET_NNODES="$SKYPILOT_NUM_NODES" PET_NODE_RANK="$SKYPILOT_NODE_RANK" PET_MASTER_PORT=29500
  export PET_MASTER_ADDR="$(echo "$SKYPILOT_NODE_IPS" | head -n 1)"
  .venv/bin/luthier train --follow {recipe}
{certify}"""
_CERTIFY_SKYPILOT = """  [ "$PET_NODE_RANK" != 0 ] || .venv/bin/luthier certify {run}
"""


def emit(kind: Kind, recipe: Recipe | Sweep, path: Path, machines: int) -> str:
    """The file's text. `path` is the recipe's file. LuthierError for what a cluster cannot be asked
    for."""
    if isinstance(recipe, Sweep):
        raise LuthierError(
            "A sweep is many runs",
            f"{path} has lists of values.",
            "Write a recipe of a single run for the cluster.",
        )
    if recipe.gpus == "all":
        message = (
            'The recipe says gpus = "all", and Luthier does not know how many GPUs the machines'
            " of the cluster have."
        )
        raise LuthierError(
            "How many GPUs?",
            message,
            "Write the number of GPUs per machine, for example gpus = 4.",
        )
    share(recipe.train.global_batch, recipe.gpus * machines)
    values = {
        "name": slug(recipe.name),
        "run": shlex.quote(recipe.name),
        "recipe": shlex.quote(str(path.absolute())),
        "machines": machines,
        "gpus": recipe.gpus,
        "home": home(),
    }
    if kind == "slurm":
        certify = _CERTIFY_SLURM if recipe.certify else ""
        return _SLURM.format(
            **values,
            cores=_CORES_OF_A_GPU * recipe.gpus,
            python=shlex.quote(sys.executable),
            certify=certify,
        )
    plan = make_plan(msgspec.structs.replace(recipe, gpus=1))
    certify = _CERTIFY_SKYPILOT.format(**values) if recipe.certify else ""
    accelerators = f"{{{', '.join(f'{name}:{recipe.gpus}' for name in _accelerators(plan))}}}"
    mounts = "\n".join(f"  {source}: {source}" for source in _mounts(recipe, path, plan))
    size = (
        sum(file.stat().st_size for file in Path(plan.model_directory).rglob("*") if file.is_file())
        >> 30
    )
    return _SKYPILOT.format(
        **values, certify=certify, accelerators=accelerators, mounts=mounts, disk=256 + 4 * size
    )


def _accelerators(plan: Plan) -> list[str]:
    """Those whose memory suffices for the plan as it stands; the largest if none does."""
    needs = needed(sum(plan.memory.values()), plan.engine)
    return [name for name, size in _ACCELERATORS.items() if bytes_of(size) >= needs] or ["H200"]


def _mounts(recipe: Recipe, path: Path, plan: Plan) -> list[str]:
    """What the run reads, at its own place."""
    sources = recipe.data_settings.all_sources
    data = [source.path for source in sources if not source.path.startswith(HUB)]
    model = [] if recipe.model == BUILTIN else [str(registry.resolve(recipe.model))]
    return list(dict.fromkeys([str(path.absolute()), *data, *model]))
