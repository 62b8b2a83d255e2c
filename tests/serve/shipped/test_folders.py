"""A shipped folder's tokenizer, stop tokens and output head, healthy and broken."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("gguf")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.real.tiny import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def fewer_merges(folder: Path) -> None:
    edit(folder / "tokenizer.json", lambda content: content["model"]["merges"].pop(0))


def swapped_tokens(folder: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        vocabulary = content["model"]["vocab"]
        vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]

    edit(folder / "tokenizer.json", change)


def other_normalizer(folder: Path) -> None:
    edit(folder / "tokenizer.json", lambda content: content.update(normalizer={"type": "NFD"}))


def no_stop(folder: Path) -> None:
    edit(folder / "generation_config.json", lambda content: content.update(eos_token_id=0))
    edit(folder / "tokenizer_config.json", lambda content: content.update(eos_token="<|pad|>"))


def lost_head(folder: Path) -> None:
    edit(folder / "config.json", lambda content: content.update(tie_word_embeddings=False))


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "reds"),
    [
        (lambda folder: None, set()),
        (fewer_merges, {"tokenizer, merges"}),
        (swapped_tokens, {"tokenizer, tokens"}),
        (other_normalizer, {"tokenizer, splitting"}),
        (no_stop, {"stop tokens"}),
        (no_tokenizer, {"tokenizer"}),
    ],
)
def test_breaks_of_a_folder(
    model: Path, tmp_path: Path, spoil: Callable[[Path], None], reds: set[str]
) -> None:
    from serve.shipped.tokenizer_checks import Tokenizer, folder_checks

    shipped = Path(shutil.copytree(model, tmp_path / "shipped"))
    spoil(shipped)
    checks = folder_checks(shipped, Tokenizer.of(model, [2]))
    assert {check.name for check in checks if check.verdict == "red"} == reds


def test_a_head_that_is_lost(model: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    from serve.shipped.folders import head_check

    headless = Path(shutil.copytree(model, tmp_path / "headless"))
    lost_head(headless)
    with_head = Path(shutil.copytree(headless, tmp_path / "with-head"))
    weights = load_file(with_head / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].copy()
    save_file(weights, with_head / "model.safetensors", {"format": "pt"})
    for shipped, trained, verdict in (
        (model, model, "green"),
        (with_head, with_head, "green"),
        (headless, model, "red"),
        (headless, with_head, "red"),
        (model, with_head, "red"),
    ):
        (check,) = head_check(shipped, trained)
        assert check.verdict == verdict, (shipped.name, trained.name)
    assert "lacks the output head" in check.sentence
    silent = Path(shutil.copytree(model, tmp_path / "silent"))
    edit(silent / "config.json", lambda content: content.pop("tie_word_embeddings"))
    assert [check.verdict for check in head_check(silent, model)] == ["green"]


@pytest.mark.parametrize(
    ("bits", "moved", "rescaled"),
    [
        (8, {"norm": 0.0, "proj": 0.03}, False),
        (8, {"norm": 0.0, "proj": 0.3}, False),
        (8, {"norm": 0.2, "other norm": 0.3, "proj": 0.2}, True),
        (4, {"norm": 0.0, "proj": 0.15}, True),
    ],
)
def test_recipes_that_move_weights_on_purpose(
    tmp_path: Path, bits: int, moved: dict[str, float], rescaled: bool
) -> None:
    from models.folder import ModelFolder
    from serve.certificate.measured import Scores
    from serve.shipped.folders import _is_rescaled
    from serve.shipped.measured import Said

    groups = {"group_0": {"weights": {"num_bits": bits}}}
    quantisation = {"quant_method": "compressed-tensors", "config_groups": groups}
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": quantisation}))
    shipped = Said(Scores([], []), "transformers", moved=moved)
    usual = {"norm": 0.0, "other norm": 0.0, "proj": 0.03}
    twin = Said(Scores([], []), "transformers", moved=usual)
    assert _is_rescaled(ModelFolder(tmp_path), shipped, twin) == rescaled
