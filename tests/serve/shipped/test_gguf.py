"""GGUF files of a tiny model: what Luthier writes is green in every check of the file, and each
planted break is red in the check that names it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.luthier_error import LuthierError
from models.certificate import Check
from tests.serve.shipped.gguf_breaks import (
    BREAKS,
    WRONG_TEMPLATE,
    lost_head,
    tensor_of,
    values_of,
)

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("gguf")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a beginning-of-sequence token, and a head of its own."""
    import numpy
    from safetensors.numpy import load_file, save_file

    from tests.real.tiny import write_tiny_model

    folder = write_tiny_model(tmp_path_factory.mktemp("model") / "tiny", hidden=64)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(
        json.dumps({**settings, "bos_token": "<|im_start|>"})
    )
    config = json.loads((folder / "config.json").read_text())
    config |= {"tie_word_embeddings": False, "rms_norm_eps": 1e-5}
    (folder / "config.json").write_text(json.dumps(config))
    weights = load_file(folder / "model.safetensors")
    head = numpy.random.default_rng(1).normal(size=weights["model.embed_tokens.weight"].shape)
    weights["lm_head.weight"] = head.astype(weights["model.embed_tokens.weight"].dtype)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def file(model: Path) -> Path:
    from models.export.gguf_writer import write

    out = model.parent / "tiny.gguf"
    write(model, out, "q8_0")
    return out


def checks_of(path: Path, model: Path, file: Path) -> dict[str, Check]:
    from models.gguf_file import GgufFile
    from serve.shipped.tokenizer_checks import Tokenizer, gguf_checks, template_check
    from serve.shipped.weights import weight_checks

    trained, shipped = Tokenizer.of(model, [2]), GgufFile(path)
    differing = 4 if shipped.template == WRONG_TEMPLATE else None
    checks = [
        *gguf_checks(shipped, trained),
        template_check(shipped.template, trained.folder.chat_template or "", differing, 4),
        *weight_checks(shipped, model, GgufFile(file), model),
    ]
    return {check.name: check for check in checks}


def test_what_is_written_is_green_and_says_what_it_is(model: Path, file: Path) -> None:
    checks = checks_of(file, model, file)
    assert {check.verdict for check in checks.values()} == {"green"}, checks
    assert set(checks) == {
        "tokenizer, tokens",
        "tokenizer, merges",
        "tokenizer, splitting",
        "special tokens",
        "stop tokens",
        "chat template",
        "output head",
        "weights",
    }
    assert values_of(file, "llama.rope.freq_base") == 10_000.0
    assert values_of(file, "tokenizer.ggml.eos_token_id") == 2


@pytest.mark.parametrize("name", list(BREAKS))
def test_each_break_is_red_by_its_own_name(
    model: Path, file: Path, tmp_path: Path, name: str
) -> None:
    spoil, check_name = BREAKS[name]
    checks = checks_of(spoil(file, tmp_path / "broken.gguf"), model, file)
    assert {check.name for check in checks.values() if check.verdict == "red"} == {check_name}


def test_a_lost_head_is_red_and_a_tied_one_has_none_to_lose(
    model: Path, file: Path, tmp_path: Path
) -> None:
    from models.export.gguf_writer import write

    headless = lost_head(file, tmp_path / "headless.gguf")
    head = checks_of(headless, model, file)["output head"]
    assert head.verdict == "red" and "takes the embedding instead" in head.sentence
    from tests.real.tiny import write_tiny_model

    tied = write_tiny_model(tmp_path / "tied", hidden=64)
    config = json.loads((tied / "config.json").read_text())
    (tied / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-5}))
    write(tied, tmp_path / "tied.gguf", "f16")
    checks = checks_of(tmp_path / "tied.gguf", tied, tmp_path / "tied.gguf")
    assert {check.verdict for check in checks.values()} == {"green"}


def test_transformers_reads_the_weights_that_were_written(model: Path, file: Path) -> None:
    """Rows of queries are in GGUF's order, and come back in the model's."""
    from safetensors.numpy import load_file
    from transformers import AutoModelForCausalLM, GgufConfig

    read = AutoModelForCausalLM.from_pretrained(
        str(file.parent),
        gguf_file=file.name,
        quantization_config=GgufConfig(dequantize=True),
    )
    name = "model.layers.1.self_attn.q_proj.weight"
    written = load_file(model / "model.safetensors")[name].astype("float32")
    came_back = read.state_dict()[name].float().numpy()
    assert abs(written - came_back).max() < 0.02 * abs(written).max()
    permuted = tensor_of(file, "blk.1.attn_q.weight")
    assert abs(permuted - written).max() > 0.5 * abs(written).max()


def test_a_damaged_file_and_an_unknown_splitting_are_refused(
    model: Path, file: Path, tmp_path: Path
) -> None:
    from models.export.tokenizer_splitting import splitting
    from models.gguf_file import GgufFile

    cut = tmp_path / "cut.gguf"
    cut.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(LuthierError, match="cut off or damaged"):
        GgufFile(cut)
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"] = {"type": "Whitespace"}
    with pytest.raises(LuthierError, match="Whitespace"):
        splitting(tokenizer)
