"""Merging beside copying and beside PEFT: `python bench/merge.py [--rounds N] [--folder DIR]`. Exit
status 1 above the limits.

A Llama with random weights (2.2 GB of bfloat16 in files of about 500 MB) and a LoRA of rank 16 on
all linear layers. In turns, each in a process of its own: Luthier's merge (hashes included, on the
disk), `cp` of the base's files and `sync`, and PEFT's from_pretrained, merge_and_unload and
save_pretrained in bfloat16 (not synced). Times leave out the start of Python and its imports, for
both.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST_OF_COPY, LEAST_OF_PEFT, MOST_MEMORY = 3.0, 3.0, 1e9
RANK = 16
SHAPE = {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
}


def build(folder: Path, layers: int) -> None:
    """The base and the adapter, written layer by layer."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(1)
    shape = {**SHAPE, "num_hidden_layers": layers, "vocab_size": 32_000}
    hidden, inner, keys = (
        shape["hidden_size"],
        shape["intermediate_size"],
        shape["hidden_size"] // 4,
    )
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "tie_word_embeddings": False,
        **shape,
    }
    names: list[tuple[str, tuple[int, ...]]] = [
        ("model.embed_tokens.weight", (shape["vocab_size"], hidden))
    ]
    linear: dict[str, tuple[int, int]] = {}
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        here = {
            f"{prefix}.self_attn.{name}_proj": (rows, hidden)
            for name, rows in (("q", hidden), ("k", keys), ("v", keys), ("o", hidden))
        }
        here |= {f"{prefix}.mlp.{name}_proj": (inner, hidden) for name in ("gate", "up")} | {
            f"{prefix}.mlp.down_proj": (hidden, inner)
        }
        linear |= here
        names += [(f"{name}.weight", size) for name, size in here.items()]
        names += [
            (f"{prefix}.{name}_layernorm.weight", (hidden,)) for name in ("input", "post_attention")
        ]
    names += [("model.norm.weight", (hidden,)), ("lm_head.weight", (shape["vocab_size"], hidden))]
    base, adapter = folder / "base", folder / "adapter"
    base.mkdir()
    adapter.mkdir()
    shards: list[dict[str, torch.Tensor]] = [{}]
    where: dict[str, int] = {}
    for name, size in names:
        if sum(tensor.nbytes for tensor in shards[-1].values()) > 450e6:
            shards.append({})
        shards[-1][name] = (torch.randn(size) * 0.02).bfloat16()
        where[name] = len(shards) - 1
    files = [
        f"model-{number + 1:05d}-of-{len(shards):05d}.safetensors" for number in range(len(shards))
    ]
    for file, tensors in zip(files, shards, strict=True):
        save_file(tensors, base / file, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: files[number] for name, number in where.items()}}
    (base / "model.safetensors.index.json").write_text(json.dumps(index))
    (base / "config.json").write_text(json.dumps(config))
    lora = {}
    for name, (rows, columns) in linear.items():
        lora[f"base_model.model.{name}.lora_A.weight"] = torch.randn(RANK, columns) * 0.02
        lora[f"base_model.model.{name}.lora_B.weight"] = torch.randn(rows, RANK) * 0.02
    save_file(lora, adapter / "adapter_model.safetensors")
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": RANK,
        "lora_alpha": 24,
        "base_model_name_or_path": str(base),
    }
    targets = sorted({name.rpartition(".")[2] for name in linear})
    (adapter / "adapter_config.json").write_text(
        json.dumps({**settings, "target_modules": targets})
    )


def memory(key: str) -> int:
    """A figure of this process in bytes: VmRSS now, VmHWM the peak."""
    line = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key)
    )
    return int(line.split()[1]) * 1024


def ours(folder: Path, out: Path) -> dict[str, float]:
    from models.merge.merging import merge
    from models.merge.plan import plan_merge

    before, started, cpu = memory("VmRSS"), time.perf_counter(), time.process_time()
    merge(plan_merge(folder / "base", folder / "adapter"), out)
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "cpu": time.process_time() - cpu,
        "memory": memory("VmHWM") - before,
        "libraries": before,
    }


def peft(folder: Path, out: Path) -> dict[str, float]:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM
    from transformers.models.llama import modeling_llama

    assert modeling_llama
    before, started, cpu = memory("VmRSS"), time.perf_counter(), time.process_time()
    model = AutoModelForCausalLM.from_pretrained(str(folder / "base"), dtype=torch.bfloat16)
    merged = PeftModel.from_pretrained(model, str(folder / "adapter")).merge_and_unload()
    merged.save_pretrained(str(out), max_shard_size="500MB")
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "cpu": time.process_time() - cpu,
        "memory": memory("VmHWM") - before,
        "libraries": before,
    }


def copy(folder: Path, out: Path) -> dict[str, float]:
    started = time.perf_counter()
    subprocess.run(["cp", "-r", str(folder / "base"), str(out)], check=True)
    subprocess.run(["sync", *map(str, out.iterdir())], check=True)
    return {"seconds": time.perf_counter() - started}


def measure(part: str, folder: Path) -> dict[str, float]:
    """One contender, once, in a process of its own."""
    out = folder / f"out-{part}"
    command = [
        sys.executable,
        str(Path(__file__).resolve()),
        "--part",
        part,
        "--folder",
        str(folder),
    ]
    answer = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**_environment(), "PYTHONPATH": str(ROOT)},
    )
    if answer.returncode != 0:
        sys.exit(f"{part}: {answer.stderr[-2000:]}")
    shutil.rmtree(out)
    subprocess.run(["sync"], check=True)  # what one left to write does not slow down the next
    figures: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return figures


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layers", type=int, default=SHAPE["num_hidden_layers"])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--part", choices=("build", "ours", "copy", "peft"))
    arguments = parser.parse_args()
    if arguments.part == "build":
        build(arguments.folder, arguments.layers)
        return 0
    if arguments.part:
        contender = {"ours": ours, "copy": copy, "peft": peft}[arguments.part]
        print(json.dumps(contender(arguments.folder, arguments.folder / f"out-{arguments.part}")))
        return 0
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        folder = Path(temporary)
        command = [
            sys.executable,
            str(Path(__file__).resolve()),
            "--part",
            "build",
            "--layers",
            str(arguments.layers),
            "--folder",
            temporary,
        ]
        subprocess.run(command, check=True)
        size = sum(path.stat().st_size for path in (folder / "base").iterdir())
        print(
            f"{size / 1e9:.2f} GB in {len(list((folder / 'base').glob('*.safetensors')))} files,"
            f" {arguments.rounds} rounds"
        )
        figures_of: dict[str, list[dict[str, float]]] = {"copy": [], "ours": [], "peft": []}
        for number in range(arguments.rounds):
            for part, figures in figures_of.items():
                figures.append(measure(part, folder))
            print(
                f"  round {number + 1}: "
                + ", ".join(
                    f"{part} {figures[-1]['seconds']:.2f} s" for part, figures in figures_of.items()
                ),
                flush=True,
            )
    return report(figures_of)


def report(figures_of: dict[str, list[dict[str, float]]]) -> int:
    seconds = {
        part: statistics.median(figure["seconds"] for figure in figures)
        for part, figures in figures_of.items()
    }
    peaks = {
        part: max(figure["memory"] for figure in figures_of[part]) for part in ("ours", "peft")
    }
    of_copy, of_peft = seconds["ours"] / seconds["copy"], seconds["peft"] / seconds["ours"]
    cpu = statistics.median(figure["cpu"] for figure in figures_of["ours"])
    print(
        f"merge {seconds['ours']:.2f} s (CPU {cpu:.2f} s), cp and sync {seconds['copy']:.2f} s,"
        f" PEFT {seconds['peft']:.2f} s (medians)"
    )
    print(
        f"merge / copy {of_copy:.2f} (limit {MOST_OF_COPY}), PEFT / merge {of_peft:.2f} (at least"
        f" {LEAST_OF_PEFT})"
    )
    for part, peak in peaks.items():
        print(
            f"peak memory of {part}: {peak / 1e6:.0f} MB beyond its libraries'"
            f" {figures_of[part][0]['libraries'] / 1e6:.0f} MB"
        )
    return int(of_copy > MOST_OF_COPY or of_peft < LEAST_OF_PEFT or peaks["ours"] > MOST_MEMORY)


if __name__ == "__main__":
    sys.exit(main())
