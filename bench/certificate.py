"""How small a break the certificate sees, and whether it cries wolf.

    python -m bench.certificate sensitivity RUN [--turns 40] [--only WORD]
    python -m bench.certificate healthy [NAME ...] [--record FILE.jsonl] [--minutes 4]
    python -m bench.certificate shipped RUN FILE.gguf [--only WORD]

`sensitivity` breaks a run's adapter in many ways and has one vLLM serve each as somebody who loads
them by hand would. It says what the hashes of the folder show, and what the probabilities alone:
figures are multiples of the certificate's noise. `healthy` trains and certifies tiny models of odd
sorts, none of which may be red. `shipped` exports a run as a GGUF file if the file is not there,
certifies it, and breaks it; exit status 1 if a break is not red by the check that names it. Each
line is printed as it is measured, so that an interrupted bench still says something.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.architectures import RECIPE, prepare, walk
from bench.tiny_models import Architecture, architecture

_OTHER_BASE = "base of another revision"
_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


# Sensitivity


@dataclass(frozen=True)
class Break:
    """One way to spoil an adapter: from its tensors and its config to others."""

    name: str
    change: Callable[[dict[str, Any], dict[str, Any]], tuple[dict[str, Any], dict[str, Any]]] | None
    """None leaves it as it is."""


def _zeroed(layer: int, part: str = "") -> Any:
    def change(
        tensors: dict[str, Any], config: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        return {
            name: 0 * tensor if f".layers.{layer}." in name and part in name else tensor
            for name, tensor in tensors.items()
        }, config

    return change


def _alpha(factor: float) -> Any:
    return lambda tensors, config: (
        tensors,
        {**config, "lora_alpha": config["lora_alpha"] * factor},
    )


def _without(module: str) -> Any:
    def change(
        tensors: dict[str, Any], config: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        kept = {name: tensor for name, tensor in tensors.items() if f".{module}." not in name}
        targets = [target for target in config["target_modules"] if target != module]
        return kept, {**config, "target_modules": targets}

    return change


def breaks(layers: int) -> list[Break]:
    middle = layers // 2
    return [
        Break("none: the same adapter", None),
        Break("alpha halved", _alpha(0.5)),
        Break("alpha a quarter larger", _alpha(1.25)),
        Break("alpha a tenth larger", _alpha(1.1)),
        Break("first layer zeroed", _zeroed(0)),
        Break(f"layer {middle} of {layers} zeroed", _zeroed(middle)),
        Break("last layer zeroed", _zeroed(layers - 1)),
        Break(f"q_proj of layer {middle} zeroed", _zeroed(middle, "q_proj")),
        Break("target module q_proj lost", _without("q_proj")),
        Break("target module v_proj lost", _without("v_proj")),
        Break("target module down_proj lost", _without("down_proj")),
    ]


def spoilt(adapter: Path, out: Path, entry: Break) -> Path:
    from safetensors.torch import load_file, save_file

    if entry.change is None:
        return Path(shutil.copytree(adapter, out))
    config = json.loads((adapter / _CONFIG).read_text())
    tensors, config = entry.change(load_file(adapter / _WEIGHTS), config)
    out.mkdir()
    for path in adapter.iterdir():
        if path.is_file() and path.name not in (_CONFIG, _WEIGHTS):
            shutil.copy(path, out)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, out / _WEIGHTS)
    (out / _CONFIG).write_text(json.dumps(config))
    return out


def sensitivity(name: str, turns: int, only: str) -> None:
    """The table, a line as it is measured."""
    import msgspec

    from models.folder import ModelFolder
    from models.runs import Run
    from serve.certificate.turns import choose_samples

    run = Run.named(name)
    layers = int(ModelFolder(run.base).text_config["num_hidden_layers"])
    _, samples = choose_samples(run.folder.data)
    while sum(len(sample.turns) for sample in samples) > turns:
        samples = samples[:-1]
    folder = Path(tempfile.mkdtemp(prefix="sensitivity-"))
    try:
        adapters = [
            (entry.name, spoilt(run.adapter(), folder / str(number), entry))
            for number, entry in enumerate(breaks(layers))
            if _is_meant(only, entry.name)
        ]
        adapters += [
            (f"adapter of step {step} of the same run", path)
            for step, path in run.folder.complete_checkpoints()[:-1]
            if (path / _WEIGHTS).is_file() and _is_meant(only, f"adapter of step {step}")
        ]
        reference = _reference(folder / "reference", run, samples)
        print(f"{sum(len(sample.turns) for sample in samples)} turns,", end=" ")
        print(f"{sum(len(sample.scored) for sample in samples)} tokens", flush=True)
        print("| break | by bytes | log-probs | mean NLL | top-1 | by probabilities alone |")
        print("|---|---|---|---|---|---|", flush=True)
        if adapters:
            _serve_each(run, msgspec.to_builtins(reference), samples, run.base, adapters)
        if _is_meant(only, _OTHER_BASE):
            other = _other_base(run.base, folder / "base")
            original = [(_OTHER_BASE, run.adapter())]
            _serve_each(run, msgspec.to_builtins(reference), samples, other, original)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_meant(only: str, name: str) -> bool:
    return any(word in name for word in only.split(","))


def _reference(folder: Path, run: Any, samples: list[Any]) -> Any:
    """What transformers with PEFT says of the healthy adapter."""
    import subprocess

    import msgspec

    from serve.certificate.measured import ORDERS_FILE, REFERENCE_FILE, Orders, Reference, write

    folder.mkdir()
    orders = Orders(str(run.base), str(run.adapter()), None, "cpu", samples, [])
    write(folder / ORDERS_FILE, orders)
    subprocess.run(
        [sys.executable, "-P", "-m", "serve.certificate.reference", str(folder)], check=True
    )
    return msgspec.json.decode((folder / REFERENCE_FILE).read_bytes(), type=Reference)


def _other_base(base: Path, out: Path) -> Path:
    """The base with its weights rounded to eight bits and back: as close as two revisions get."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(base, out)
    for file in out.glob("*.safetensors"):
        tensors = load_file(file)
        for name, tensor in tensors.items():
            if tensor.dim() == 2:
                scale = tensor.float().abs().amax(-1, keepdim=True) / 127
                tensors[name] = ((tensor.float() / scale).round() * scale).to(torch.bfloat16)
        save_file(tensors, file, {"format": "pt"})
    return out


def _serve_each(
    run: Any,
    reference: dict[str, Any],
    samples: list[Any],
    base: Path,
    adapters: list[tuple[str, Path]],
) -> None:
    """One server; each adapter is loaded, asked and unloaded."""
    import msgspec

    from jobs.job import stop, wait
    from models import provenance
    from serve.certificate import agreement, asking
    from serve.certificate.measured import Reference, Scores
    from serve.client import load_adapter, unload_adapter
    from serve.launch import serve
    from serve.planning import ServeOptions

    trained = msgspec.convert(reference, Reference)
    assert isinstance(trained.base, Scores)
    assert isinstance(trained.tuned, Scores)
    adapter = adapters[0][1]
    job = serve(str(base), [("first", adapter, None)], options=ServeOptions(context_length=2048))
    try:
        server = _once_running(job)

        def scores(model: str) -> Any:
            return asyncio.run(asking.scores(server.endpoint, model, samples, lambda: None))

        unit = agreement.noise_of(trained.base, scores(server.plan.base_name), trained.tuned)
        _print_base(unit.base, trained.base.resolution or 0.0, base != run.base)
        recorded = provenance.read(run.folder.path)
        for number, (title, path) in enumerate(adapters):
            name = f"adapter-{number}"
            asyncio.run(load_adapter(server.control_endpoint, name, path))
            changed = provenance.changes(recorded, base, path) if recorded else {}
            parts = ", ".join(sorted(part for part, names in changed.items() if names))
            _print_row(title, parts, trained.tuned, scores(name), unit)
            asyncio.run(unload_adapter(server.control_endpoint, name))
    finally:
        stop(job)
        wait(job, 60.0)


def _once_running(job: Any) -> Any:
    from jobs.state import Queued, Running, Starting
    from serve.servers import running_servers

    while isinstance(state := job.state(), Queued | Starting):
        time.sleep(0.2)
    if not isinstance(state, Running):
        raise SystemExit(f"The server did not start: {state}")
    return next(server for server in running_servers() if server.job.id == job.id)


def _print_base(measured: Any, resolution: float, other: bool) -> None:
    from serve.certificate import agreement

    check = agreement.calibration(measured, resolution)
    words = f"{'another base' if other else 'base'} against base: {measured.spread:.4f} nats"
    print(f"| ({words}) | | | | | {check.verdict} |", flush=True)


def _print_row(title: str, parts: str, tuned: Any, scores: Any, unit: Any) -> None:
    from models.certificate import worst
    from serve.certificate import agreement

    if not hasattr(scores, "first"):
        print(
            f"| {title} | {parts or '–'} | | | | red: {scores.reason} |",
            flush=True,
        )
        return
    gap = agreement.difference(tuned, scores)
    figures = (
        gap.spread / unit.spread,
        abs(gap.nll) / unit.nll,
        gap.disagreed / unit.disagreed,
    )
    checks = agreement.agreement("adapter", "vLLM", tuned, scores, unit)
    verdict = worst(check.verdict for check in checks)
    cells = " | ".join(f"{figure:.2f}" for figure in figures)
    print(f"| {title} | {parts or '–'} | {cells} | {verdict} |", flush=True)


# Healthy models


@dataclass(frozen=True)
class Healthy:
    """A tiny model of an odd sort: an architecture, what its recipe has beside the usual, and what
    is done to its folder before it is trained."""

    entry: Architecture
    recipe: str = ""
    """A line of its table `lora`, in place of the usual rank."""
    table: str = ""
    """A table of its own."""
    alter: Callable[[Path], None] = lambda folder: None
    merge: bool = False
    """Merged, too, and certified with a server of its own."""


def _named(name: str, of: str = "llama", **settings: Any) -> Architecture:
    entry = architecture(of)
    return replace(entry, settings={**entry.settings, **settings}, folder=name)


def _stored_as(name: str) -> Callable[[Path], None]:
    def alter(folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, name))
        model.save_pretrained(folder)

    return alter


def _sharded(folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="2MB")


def _without_generation_config(folder: Path) -> None:
    (folder / "generation_config.json").unlink()


def healthy_models() -> dict[str, Healthy]:
    plain = _named
    return {
        "llama": Healthy(plain("plain")),
        "tied": Healthy(plain("tied", tie_word_embeddings=True), merge=True),
        "float32": Healthy(plain("float32"), alter=_stored_as("float32")),
        "float16": Healthy(plain("float16"), alter=_stored_as("float16")),
        "sharded": Healthy(plain("sharded"), alter=_sharded),
        "attention bias": Healthy(plain("biased", attention_bias=True)),
        "stops in config.json alone": Healthy(plain("stops"), alter=_without_generation_config),
        "one head of keys": Healthy(plain("one-head", num_key_value_heads=1)),
        "rsLoRA": Healthy(plain("rslora"), "rslora = true"),
        "rank 1": Healthy(plain("rank-one"), "r = 1"),
        "rank 64": Healthy(plain("rank-64"), "r = 64"),
        "DoRA": Healthy(plain("dora"), "dora = true", merge=True),
        "attention alone": Healthy(
            plain("attention"), 'targets = ["q_proj", "k_proj", "v_proj", "o_proj"]'
        ),
        "own template and tokens": Healthy(
            plain("own-tokens"), table='[tokens]\ntemplate = "chatml"'
        ),
        **{
            name: Healthy(plain(name.replace("_", "-"), name))
            for name in (
                *("mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "olmo2"),
                *("smollm3", "granite", "glm4"),
            )
        },
    }


def healthy(names: list[str], record: Path | None, minutes: float) -> None:
    """Each is trained and certified, some merged, too; none may be red. A tiny model that has not
    learnt to stop is rightly red for that, and counts apart. What `record` has already is not
    walked again."""
    results = _recorded(record)
    models = {name: model for name, model in healthy_models().items() if name in names or not names}
    deadline = time.monotonic() + 60 * minutes
    if models.keys() - results.keys():
        folder = Path(tempfile.mkdtemp(prefix="healthy-"))
        os.environ.update(
            LUTHIER_HOME=str(folder / "home"),
            HF_HUB_OFFLINE="1",
            VLLM_NO_USAGE_STATS="1",
            VLLM_WORKER_MULTIPROC_METHOD="fork",
            TOKENIZERS_PARALLELISM="false",
        )
        builtin, data = prepare(folder, serve=True)
        for name, model in models.items():
            if name not in results and time.monotonic() < deadline:
                results[name] = _walked(model, folder, builtin, data)
                _note(record, name, results[name])
        shutil.rmtree(folder, ignore_errors=True)
    print("| folder | verdict | red beside stopping | not green | seconds |\n|---|---|---|---|---|")
    for name, result in results.items():
        cells = (
            *(name, result["verdict"], ", ".join(result["reds"])),
            *(", ".join(result["faults"]), f"{result['seconds']:.0f}"),
        )
        print(f"| {' | '.join(cells)} |")
    reached = [result for result in results.values() if not result["verdict"].startswith("not")]
    reds = sum(bool(result["reds"]) for result in reached)
    print(f"{reds} of {len(reached)} have a red check beside stopping; ", end="")
    print(f"{len(models.keys() - results.keys())} of {len(models)} were not walked")


def _walked(model: Healthy, folder: Path, builtin: Path, data: Path) -> dict[str, Any]:
    began = time.monotonic()
    recipe = RECIPE.replace("r = 4\n", f"{model.recipe}\n" if model.recipe else "r = 4\n")
    recipe += f"{model.table}\n"
    stages = walk(
        model.entry,
        folder,
        builtin,
        data,
        6.0,
        serve=True,
        recipe=recipe,
        alter=model.alter,
        merge=model.merge,
    )
    return {
        "verdict": stages.certificate or f"not reached: {stages.mask} {stages.train}",
        "reds": [check for check in stages.reds if not check.startswith("stopping")],
        "faults": stages.faults,
        "seconds": round(time.monotonic() - began),
    }


def _recorded(record: Path | None) -> dict[str, Any]:
    if record is None or not record.is_file():
        return {}
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    return {line.pop("name"): line for line in lines}


def _note(record: Path | None, name: str, result: dict[str, Any]) -> None:
    line = json.dumps({"name": name, **result})
    print(line, file=sys.stderr, flush=True)
    if record is not None:
        with record.open("a") as file:
            file.write(line + "\n")


# What is shipped


def shipped(name: str, file: Path, only: str) -> bool:
    """A healthy GGUF file ("none"), then each break of it. True if the healthy one is not red and
    the check that names each break is. A run that is not merged yet is merged, and a file that is
    not there is exported as Q8_0. Only the healthy one stays a chapter of the run: the others would
    turn it red."""
    from models.runs import Run
    from serve.certificate.launch import merged_directory
    from tests.serve.shipped.gguf_breaks import BREAKS

    folder = Run.named(name).folder
    if not file.exists():
        if merged_directory(folder.path) is None:
            _luthier("merge", name)
        _luthier("models", "export", name, "--out", str(file), "--as", "gguf:q8_0")
    print("| break | verdict | red | distance in noise | seconds |\n|---|---|---|---|---|")
    as_expected = True
    for title, path, expected in _broken_files(file, BREAKS, only):
        before = set(folder.chapters.glob("*"))
        chapter = _luthier("certify", name, "--shipped", str(path))
        for chapter_path in set(folder.chapters.glob("*")) - before if expected else ():
            chapter_path.unlink()
        red = [check["name"] for check in chapter["checks"] if check["verdict"] == "red"]
        distance = chapter["figures"].get("distance_in_noise")
        cells = (title, chapter["verdict"], ", ".join(red), f"{distance or 0:.2f}")
        print(f"| {' | '.join(cells)} | {chapter['seconds']:.0f} |", flush=True)
        as_expected = as_expected and (expected in red if expected else not red)
    return as_expected


def _broken_files(
    file: Path, ways: dict[str, Any], only: str
) -> Iterator[tuple[str, Path, str | None]]:
    """Each with the check that is to be red."""
    if _is_meant(only, "none"):
        yield "none", file, None
    with tempfile.TemporaryDirectory() as folder:
        for title, (spoil, check) in ways.items():
            if not _is_meant(only, title):
                continue
            out = spoil(file, Path(folder) / f"{title.replace(' ', '-')}.gguf")
            yield title, out, check
            out.unlink()


def _luthier(*arguments: str) -> Any:
    """What a command of Luthier says as JSON."""
    import subprocess

    answer = subprocess.run(
        [sys.executable, "-c", "from tui.cli import main; main()", *arguments, "--json"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if answer.returncode not in (0, 1) or not answer.stdout:  # 1: a red one
        raise SystemExit(f"luthier {' '.join(arguments)} ended with {answer.returncode}")
    return json.loads(answer.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    of_breaks = commands.add_parser("sensitivity")
    of_breaks.add_argument("run")
    of_breaks.add_argument("--turns", type=int, default=40)
    of_models = commands.add_parser("healthy")
    of_models.add_argument("names", nargs="*", help="default: all")
    of_models.add_argument(
        "--record", type=Path, help="JSON Lines of the results; what it has is not walked again"
    )
    of_models.add_argument(
        "--minutes", type=float, default=60.0, help="begin no further model after so many"
    )
    of_files = commands.add_parser("shipped")
    of_files.add_argument("run")
    of_files.add_argument("file", type=Path, help="exported as Q8_0 if it is not there")
    for command in (of_breaks, of_files):
        command.add_argument("--only", default="", help="breaks with one of these words (a,b)")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that its server is stopped
    if arguments.command == "sensitivity":
        sensitivity(arguments.run, arguments.turns, arguments.only)
    elif arguments.command == "healthy":
        healthy(arguments.names, arguments.record, arguments.minutes)
    elif not shipped(arguments.run, arguments.file, arguments.only):
        sys.exit(1)


if __name__ == "__main__":
    main()
