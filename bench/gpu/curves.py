"""The loss curves of both engines on the same data and seed, of float8 products and of a 4-bit
base: one picture and the differences.

    python -m bench.gpu.curves DATA [--model builtin] [--steps 60] [--out FOLDER]
        [--only trl unsloth]

Each run goes through `luthier train`, one after the other; nothing but the engine or the bits
differs in their recipes, and "again" is the first one with another seed: how much its curve differs
says what noise is. curves.svg is drawn by `luthier chart`, curves.json has the figures: the mean
loss of the last quarter of the steps, and the mean difference to the first run's over all steps.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LUTHIER = [sys.executable, "-P", "-m", "tui.cli"]
RUNS: dict[str, dict[str, Any]] = {
    "trl": {"engine": "trl"},
    "unsloth": {"engine": "unsloth"},
    "again": {"engine": "trl", "seed": 43},
    "float8": {"engine": "unsloth", "float8": "true"},
    "qlora": {"engine": "unsloth", "base_bits": 4},
}
RECIPE = """
name = "{name}"
model = "{model}"
data = ["{data}"]
engine = "{engine}"
certify = false

[train]
base_bits = {base_bits}
float8 = {float8}
epochs = {epochs}
learning_rate = 2e-4
global_batch = {global_batch}
seed = {seed}

[evaluation]
times = 4
samples = 0
"""


def luthier(*arguments: str) -> str:
    return subprocess.run(
        [*LUTHIER, *arguments], stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def trained(name: str, options: argparse.Namespace, folder: Path) -> str:
    """The id of a finished run of about `steps` steps."""
    path = folder / f"{name}.toml"
    settings_of_all = {
        "name": name,
        "model": options.model,
        "data": options.data.absolute(),
        "global_batch": options.batch,
    }
    settings = {**settings_of_all, "base_bits": 16, "float8": "false", "seed": 42, **RUNS[name]}
    path.write_text(RECIPE.format(**settings, epochs=1.0))
    an_epoch = json.loads(luthier("plan", str(path), "--json"))["steps"]
    path.write_text(RECIPE.format(**settings, epochs=options.steps / an_epoch))
    return luthier("train", str(path), "--follow").split()[0]


def losses(run: str) -> dict[int, float]:
    (chart,) = json.loads(luthier("chart", run, "--json"))
    return dict(chart["metrics"]["loss"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=16, help="conversations a step")
    parser.add_argument("--out", type=Path, default=Path())
    parser.add_argument("--only", nargs="+", choices=RUNS, default=list(RUNS))
    options = parser.parse_args()
    os.environ.setdefault("LUTHIER_HOME", tempfile.mkdtemp(prefix="luthier-curves-"))
    options.out.mkdir(parents=True, exist_ok=True)
    if options.model == "builtin":
        luthier("models", "import", "builtin")
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: trained(name, options, Path(folder)) for name in options.only}
    luthier("chart", *runs.values(), "--out", str(options.out / "curves.svg"))
    curves = {name: losses(run) for name, run in runs.items()}
    first = curves[options.only[0]]
    report = {}
    for name, curve in curves.items():
        last = [loss for step, loss in curve.items() if step > 0.75 * max(curve)]
        apart = [abs(loss - first[step]) for step, loss in curve.items() if step in first]
        report[name] = {
            "steps": max(curve),
            "last_quarter": round(statistics.mean(last), 4),
            "apart": round(statistics.mean(apart), 4),
        }
    (options.out / "curves.json").write_text(json.dumps(report, indent=1))
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
