"""How many GPUs and machines a recipe comes to, and the files that ask a cluster for them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from jobs.gpus import Gpu
from jobs.luthier_error import LuthierError
from tests.trainer.shapes import llama
from trainer import launch
from trainer.launch import planned_spec
from trainer.plan import plan, repair
from trainer.plan.cluster_files import emit
from trainer.plan.placement import place, share
from trainer.plan.plan import make_plan
from trainer.recipe import Recipe, Train
from trainer.sweep import load_runs

GB = 10**9


def gpus(count: int) -> list[Gpu]:
    return [Gpu(number, "NVIDIA H200", 141 * GB, 141 * GB) for number in range(count)]


@pytest.fixture(autouse=True)
def variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    for name in ("PET_NNODES", "PET_NODE_RANK"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    path = tmp_path / "data.jsonl"
    path.write_text(
        "".join(
            json.dumps({"messages": [{**turns[0], "content": f"hi {n}"}, turns[1]]}) + "\n"
            for n in range(100)
        )
    )
    return path


def recipe(data: Path, model: Path, gpus: object, **train: object) -> Recipe:
    return Recipe(data=[str(data)], model=str(model), gpus=gpus, train=Train(**train))  # type: ignore[arg-type]


def test_all_are_those_that_are_there_and_more_is_an_error(data: Path) -> None:
    assert place(recipe(data, data, "all"), gpus(4)).ranks == 4
    assert place(recipe(data, data, 2), gpus(4)).ranks == 2
    with pytest.raises(LuthierError, match="gpus = 8, but nvidia-smi lists 4"):
        place(recipe(data, data, 8), gpus(4))


def test_on_a_cpu_it_is_one_process_and_the_plan_says_so(data: Path) -> None:
    assert place(recipe(data, data, 1), []).reasons == []
    for wanted in (2, "all"):
        placement = place(recipe(data, data, wanted), [])
        assert placement.ranks == 1
        assert "no GPU" in placement.reasons[0].text


def test_a_batch_that_does_not_divide_is_an_error_that_says_what_would(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert share(16, 4) == 4
    with pytest.raises(LuthierError, match="not a multiple of the 3 GPUs") as caught:
        share(16, 3)
    assert "15 or 18" in caught.value.hint
    with pytest.raises(LuthierError) as caught:
        share(2, 4)
    assert "Set train.global_batch to 4" in caught.value.hint
    for module in (plan, repair):
        monkeypatch.setattr(module, "gpus", lambda: gpus(4))
    with pytest.raises(
        LuthierError, match=r"which 4 GPUs share, is not a multiple of train\.micro_batch 8"
    ):
        make_plan(recipe(data, llama(tmp_path / "base"), 4, global_batch=16, micro_batch=8))


def test_the_plan_of_several_gpus(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same global batch and steps; a slot for each; a certificate on one of them."""
    for module in (plan, repair):
        monkeypatch.setattr(module, "gpus", lambda: gpus(4))
    model = llama(tmp_path / "base")
    one, four = (
        make_plan(recipe(data, model, count, global_batch=16, micro_batch=2))
        for count in (1, "all")
    )
    assert (one.compute.micro_batch, one.compute.accumulation, one.ranks) == (2, 8, 1)
    assert (four.compute.micro_batch, four.compute.accumulation, four.ranks) == (2, 2, 4)
    assert (one.global_batch, one.steps) == (four.global_batch, four.steps)
    assert four.slots == ["gpu"] * 4
    assert any("4 GPUs" in reason.text for reason in four.reasons)
    spec = planned_spec(recipe(data, model, "all"), four)
    assert (spec.slots, spec.then[0]["slots"]) == (["gpu"] * 4, ["gpu"])


def test_machines_are_those_of_torchruns_variables(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one has the result, and so the certificate."""
    for module in (plan, repair):
        monkeypatch.setattr(module, "gpus", lambda: gpus(2))
    monkeypatch.setenv("PET_NNODES", "3")
    wanted = recipe(data, llama(tmp_path / "base"), 2, global_batch=24)
    made = make_plan(wanted)
    assert (made.machines, made.ranks, made.compute.micro_batch * made.compute.accumulation) == (
        3,
        6,
        4,
    )
    assert len(planned_spec(wanted, made).then) == 1
    monkeypatch.setenv("PET_NODE_RANK", "2")
    assert planned_spec(wanted, made).then == []
    monkeypatch.setenv("PET_NODE_RANK", "3")
    with pytest.raises(LuthierError, match="Which machine is this"):
        launch.run_spec(wanted)
    monkeypatch.setenv("PET_NNODES", "1:4")
    with pytest.raises(LuthierError, match="How many machines"):
        make_plan(wanted)


# ---- files for clusters

# A cluster of two machines: srun runs the command on each of them. `luthier train` runs until
# `luthier stop`, on both.
_SRUN = """#!/bin/bash
machines=2
while [[ $1 == --* ]]; do [[ $1 == --nodes=1 ]] && machines=1; shift; done
for ((n = 0; n < machines; n++)); do SLURM_NODEID=$n "$@" & pids+=($!); done
for pid in "${pids[@]}"; do wait $pid || code=$?; done
exit ${code:-0}
"""
_SCONTROL = "#!/bin/bash\necho first\necho second\n"
_PYTHON = """#!/bin/bash
shift 3
master="$PET_MASTER_ADDR:$PET_MASTER_PORT"
echo "$PET_NODE_RANK of $PET_NNODES at $master in $LUTHIER_HOME: $*" >> "$LOG"
case $1 in
stop) touch "$LOG.stopped-$PET_NODE_RANK" ;;
train | resume) if [ -n "$STOPS" ]; then
    while [ ! -e "$LOG.stopped-$PET_NODE_RANK" ]; do sleep 0.02; done
    exit 1
fi ;;
esac
"""


class Cluster:
    def __init__(self, folder: Path, data: Path) -> None:
        self.folder, self.log = folder, folder / "log"
        for name, text in {"srun": _SRUN, "scontrol": _SCONTROL, "python": _PYTHON}.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        self.recipe = folder / "my recipe.toml"
        self.recipe.write_text(
            f'data = ["{data}"]\nmodel = "{llama(folder / "base")}"\nname = "My run"\ngpus = 2\n'
        )

    def start(self, **variables: str) -> subprocess.Popen[bytes]:
        text = emit("slurm", load_runs(self.recipe), self.recipe, 2)
        script = self.folder / "job.sh"
        script.write_text(
            "\n".join(
                f"export PYTHON={self.folder}/python" if "PYTHON=" in line else line
                for line in text.splitlines()
            )
        )
        slurm = {
            "SLURM_NNODES": "2",
            "SLURM_JOB_ID": "7",
            "SLURM_JOB_NODELIST": "n[1-2]",
            "LOG": str(self.log),
            "STOPS": "",
            **variables,
        }
        return subprocess.Popen(
            ["bash", str(script)],
            env={**os.environ, **slurm, "PATH": f"{self.folder}:{os.environ['PATH']}"},
        )

    def told(self) -> list[str]:
        return sorted(self.log.read_text().splitlines()) if self.log.exists() else []


@pytest.fixture
def cluster(tmp_path: Path, data: Path) -> Cluster:
    return Cluster(tmp_path, data)


def test_a_slurm_script_trains_on_each_machine_and_certifies_on_the_first(cluster: Cluster) -> None:
    home = os.environ["LUTHIER_HOME"]
    assert cluster.start().wait(20) == 0
    assert cluster.told() == [
        f"0 of 2 at first:20007 in {home}: certify My run",
        f"0 of 2 at first:20007 in {home}: train --follow {cluster.recipe}",
        f"1 of 2 at first:20007 in {home}/machines/7-1: train --follow {cluster.recipe}",
    ]


def test_before_its_time_is_over_a_slurm_job_stops_on_each_machine(cluster: Cluster) -> None:
    script = cluster.start(STOPS="yes", RESUME="20261122-1530-my-run-7f3a")
    while len(cluster.told()) < 2:
        assert script.poll() is None
    script.send_signal(signal.SIGTERM)
    assert script.wait(20) == 1
    said = sorted(line.rpartition(": ")[2] for line in cluster.told())
    assert said == [
        "resume --follow 20261122-1530-my-run-7f3a",
        "stop My run",
        "stop My run",
        f"train --follow {cluster.recipe}",
    ]


def test_a_skypilot_task_sends_what_the_run_reads(cluster: Cluster, data: Path) -> None:
    text = emit("skypilot", load_runs(cluster.recipe), cluster.recipe, 4)
    assert "num_nodes: 4" in text
    for path in (cluster.recipe, data, cluster.folder / "base"):
        assert f"  {path}: {path}\n" in text
    assert "H200:2" in text
    assert "FILL_IN" in text


def test_what_a_cluster_cannot_be_asked_for(cluster: Cluster) -> None:
    before = cluster.recipe.read_text()
    for changed, title in (
        (before.replace("gpus = 2", 'gpus = "all"'), "How many GPUs"),
        (before + "[lora]\nr = [4, 8]\n", "A sweep"),
    ):
        cluster.recipe.write_text(changed)
        with pytest.raises(LuthierError, match=title):
            emit("slurm", load_runs(cluster.recipe), cluster.recipe, 1)
    cluster.recipe.write_text(before)
    with pytest.raises(LuthierError, match="not a multiple of the 6 GPUs"):
        emit("slurm", load_runs(cluster.recipe), cluster.recipe, 3)
