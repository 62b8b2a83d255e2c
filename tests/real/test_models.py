"""Importing and exporting with the real parts: GGUF files by transformers, jobs started from the
command line, the hub's own client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from jobs.job import Job, all_jobs, stop, wait
from jobs.luthier_error import LuthierError
from jobs.state import Done, Queued, Running, Starting, Stopped
from models.builtin import gguf_file
from models.catalogue import find_entry
from models.imports.gguf import convert, read_contents
from models.imports.launch import start_import, unfinished
from models.imports.progress import ByteProgress
from models.preflight import check_template
from models.template import load_tokenizer
from models.weights import tensor_shapes
from tests.fakes.hub import HubServer, hub
from tests.models.registry.made import import_here, repository, weights_bytes

pytestmark = pytest.mark.real
_HIDDEN, _INNER, _LAYERS = 64, 96, 2


@cache
def tokenizer_of_the_built_in() -> list[tuple[str, Any, list[Any]]]:
    """What its GGUF file says of its tokenizer: names, values, types. Reading the 49,152 tokens
    takes seconds."""
    fields = gguf.GGUFReader(str(gguf_file())).fields.items()
    return [
        (name, entry.contents(), entry.types)
        for name, entry in fields
        if name.startswith("tokenizer.")
    ]


def write_header(path: Path, bos: int) -> Path:
    """A GGUF file of four tokens, a weight and no chat template."""
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_token_list(["a", "b", "c", "d"])
    writer.add_bos_token_id(bos)
    writer.add_tensor("token_embd.weight", np.zeros((4, 64), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_gguf(path: Path, *, broken: bool = False, **changes: Any) -> Path:
    """A random Llama of two layers with the built-in model's tokenizer; `changes` replace what the
    header says, None leaves it out."""
    writer = gguf.GGUFWriter(str(path), "llama")
    for name, value, types in tokenizer_of_the_built_in():
        if name.removeprefix("tokenizer.").replace(".", "_") not in changes:
            writer.add_key_value(name, value, types[0], types[-1] if len(types) > 1 else None)
    for name, value in changes.items():
        if value is not None:
            kind = (
                gguf.GGUFValueType.STRING if isinstance(value, str) else gguf.GGUFValueType.UINT32
            )
            writer.add_key_value("tokenizer." + name.replace("ggml_", "ggml."), value, kind)
    writer.add_name("Tiny pirate")
    writer.add_block_count(_LAYERS)
    writer.add_context_length(256)
    writer.add_embedding_length(_HIDDEN)
    writer.add_feed_forward_length(_INNER)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    dice = np.random.default_rng(0)

    def weight(*shape: int) -> Any:
        return dice.normal(0, 0.1, shape).astype(np.float16)

    writer.add_tensor("token_embd.weight", weight(49_152, _HIDDEN))
    norm: Any = np.full(_HIDDEN, np.nan if broken else 1.0, dtype=np.float32)
    writer.add_tensor("output_norm.weight", norm)
    for layer in range(_LAYERS):
        shapes = {
            "attn_q": (64, 64),
            "attn_k": (32, 64),
            "attn_v": (32, 64),
            "attn_output": (64, 64),
        }
        shapes |= {"ffn_gate": (_INNER, 64), "ffn_up": (_INNER, 64), "ffn_down": (64, _INNER)}
        for name, shape in shapes.items():
            writer.add_tensor(f"blk.{layer}.{name}.weight", weight(*shape))
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(_HIDDEN, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


class Context:
    """As much of a worker's context as progress needs."""

    stopping = threading.Event()

    def phase(self, name: str, **fields: Any) -> None: ...


def converted(path: Path, folder: Path) -> list[str]:
    """The warnings of a conversion."""
    folder.mkdir()
    return convert(path, folder, ByteProgress(Context())).warnings  # type: ignore[arg-type]


def test_a_gguf_that_is_wrong_about_its_tokens_is_put_right(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "wrong.gguf", ggml_eos_token_id=1, ggml_padding_token_id=1)
    warnings = " ".join(converted(path, tmp_path / "out"))
    assert (
        "lists '<|im_start|>' as the token that ends an answer, but its chat template ends answers"
        " with '<|im_end|>'" in warnings
    )
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    generation = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert (tokenizer.eos_token, generation["eos_token_id"]) == ("<|im_end|>", 2)
    assert tokenizer.pad_token not in (None, "<|im_end|>")
    assert not check_template(load_tokenizer(tmp_path / "out"), tmp_path / "out").failed
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.dtype == torch.bfloat16 and model.config.max_position_embeddings == 256
    stored = next(
        tensor
        for tensor in gguf.GGUFReader(str(path)).tensors
        if tensor.name == "blk.1.ffn_up.weight"
    )
    assert torch.equal(
        model.model.layers[1].mlp.up_proj.weight,
        torch.from_numpy(np.array(stored.data)).to(torch.bfloat16),
    )


def test_a_gguf_without_a_template_or_with_broken_weights_is_told(tmp_path: Path) -> None:
    contents = read_contents(write_header(tmp_path / "a.gguf", bos=1))
    assert (
        any("no chat template" in warning for warning in contents.warnings)
        and contents.parameters == 256
    )
    with pytest.raises(LuthierError, match="bos_token_id is 99, and it has 4 tokens"):
        read_contents(write_header(tmp_path / "b.gguf", bos=99))
    cut = tmp_path / "cut.gguf"
    cut.write_bytes((tmp_path / "a.gguf").read_bytes()[:-500])
    with pytest.raises(LuthierError, match="Unreadable GGUF file"):
        read_contents(cut)
    with pytest.raises(LuthierError, match="Damaged weights"):
        converted(write_gguf(tmp_path / "c.gguf", broken=True), tmp_path / "broken")


def test_pickled_weights_of_a_trusted_repository_become_safetensors(
    builtin_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
    }
    model = LlamaForCausalLM(LlamaConfig(vocab_size=49_152, tie_word_embeddings=True, **size))
    model.save_pretrained(tmp_path / "whole")
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    files = {"pytorch_model.bin": (tmp_path / "pytorch_model.bin").read_bytes()}
    files["config.json"] = (tmp_path / "whole" / "config.json").read_bytes()
    files |= {
        name: (builtin_model / name).read_bytes()
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    }
    with hub({"pirates/pickled": files}) as server:
        for key, value in environment(server, tmp_path).items():
            monkeypatch.setenv(key, value)
        result = import_here("hub:pirates/pickled", trust=True)
    assert result is not None and "pirates/pickled is trusted" in result["warnings"][-1]
    folder = Path(result["path"])
    assert not any(folder.glob("*.bin")) and "lm_head.weight" not in tensor_shapes(
        folder / "model.safetensors"
    )
    made = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    assert all(torch.equal(weight, made[name]) for name, weight in model.state_dict().items())


def luthier(*arguments: str, **environment: str) -> Any:
    """What the command prints with --json."""
    command = [sys.executable, "-P", "-m", "tui.cli", *arguments, "--json"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_built_in_file_imported_like_any_other_is_the_built_in_model(
    builtin_model: Path,
) -> None:
    told = luthier("models", "import", str(gguf_file()), "--name", "again")
    assert any("rounded to Q4_1" in warning for warning in told["warnings"])
    for name in (
        "model.safetensors",
        "tokenizer.json",
        "config.json",
        "generation_config.json",
        "chat_template.jinja",
    ):
        assert (Path(told["path"]) / name).read_bytes() == (builtin_model / name).read_bytes(), name
    shown = luthier("models", "show", "again")
    assert shown["template"]["family"] == "ChatML" and shown["licence"] == "apache-2.0"
    assert luthier("models", "remove", "again", "--yes")["removed"] == "again"


def environment(server: HubServer, folder: Path) -> dict[str, str]:
    return {
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(folder),
        "HF_TOKEN": "hf_writer",
        "HF_HUB_DISABLE_XET": "1",
    }


def test_to_the_hub_and_back_from_the_command_line(builtin_model: Path, tmp_path: Path) -> None:
    with hub({}) as server:
        server.tokens = {"hf_writer": "write"}
        pushed = luthier(
            "models", "push", "builtin", "sailor/builtin", **environment(server, tmp_path)
        )
        assert pushed["repository"] == "sailor/builtin" and server.private == {"sailor/builtin"}
        pulled = luthier(
            "models",
            "import",
            "hub:sailor/builtin",
            "--name",
            "pulled",
            **environment(server, tmp_path),
        )
    assert (Path(pulled["path"]) / "model.safetensors").read_bytes() == (
        builtin_model / "model.safetensors"
    ).read_bytes()
    assert find_entry("pulled").template == find_entry("builtin").template
    luthier("models", "remove", "pulled", "--yes")


def test_an_import_is_stopped_killed_and_gone_on_with(
    luthier_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = weights_bytes(20_000_000)
    with hub({"pirates/large": repository({"model.safetensors": weights})}) as server:
        for key, value in environment(server, tmp_path).items():
            monkeypatch.setenv(key, value)
        server.tokens = {"hf_writer": "write"}
        server.pause = 0.4
        for signal_ in ("stop", "kill"):
            job = start_import("hub:pirates/large")
            wait_for_bytes(job)
            stop(job)
            if signal_ == "kill":
                stop(job)
            assert wait(job, 20)
            assert isinstance(job.state(), Stopped), job.state()
            assert not (luthier_home / "models" / "large").exists()
        (left,) = unfinished()
        assert left.bytes > 10_000_000
        server.pause = 0.0
        server.ranges.clear()
        job = start_import("hub:pirates/large")
        assert wait(job, 60)
        assert isinstance(job.state(), Done), job.log_path.read_text()[-2000:]
        assert server.ranges[0][1] >= 10_000_000
    assert (luthier_home / "models" / "large" / "model.safetensors").read_bytes() == weights
    assert all(not other.alive() for other in all_jobs("import"))


def wait_for_bytes(job: Job) -> None:
    """Until the import has something that is worth going on with."""
    deadline = time.monotonic() + 60
    while not any(
        left.stat().st_size >= 10_000_000
        for left in (job.directory.parents[1] / "models" / ".large.importing").glob(".*.part")
    ):
        assert (
            isinstance(job.state(), Queued | Starting | Running) and time.monotonic() < deadline
        ), job.log_path.read_text()[-2000:]
        time.sleep(0.05)
