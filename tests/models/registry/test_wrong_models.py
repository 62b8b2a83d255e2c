"""What people name where a model is expected, and what they are told to do instead."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.home import jobs_directory, models_directory
from jobs.luthier_error import LuthierError
from models.hub_names import hub_name
from models.registry import resolve
from trainer.data.files import source_files
from trainer.recipe import load


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "named",
    [
        "Qwen/Qwen3-0.6B",
        "hub:Qwen/Qwen3-0.6B",
        "https://huggingface.co/Qwen/Qwen3-0.6B",
        "https://huggingface.co/Qwen/Qwen3-0.6B/tree/main",
        "huggingface.co/Qwen/Qwen3-0.6B",
        "hf.co/Qwen/Qwen3-0.6B",
        "hf://Qwen/Qwen3-0.6B",
    ],
)
def test_a_name_of_the_hub_is_imported_first(home: Path, named: str) -> None:
    (home / "a.toml").write_text(f'model = "{named}"\ndata = ["x.jsonl"]\n')
    for model in (named, load(home / "a.toml").model):
        with pytest.raises(LuthierError) as caught:
            resolve(model)
        assert (
            caught.value.hint
            == "Run `luthier models import hub:Qwen/Qwen3-0.6B`, then use the name Qwen3-0.6B."
        )


def test_one_that_was_imported_is_named_as_it_is_here(home: Path) -> None:
    _model(models_directory() / "Qwen3-0.6B")
    with pytest.raises(LuthierError) as caught:
        resolve("Qwen/Qwen3-0.6B")
    assert caught.value.hint == "Use that name: Qwen3-0.6B"
    assert resolve("Qwen3-0.6B") == models_directory() / "Qwen3-0.6B"
    with pytest.raises(LuthierError, match="neither a folder") as caught:
        resolve("Qwen3-0.6")
    assert "Did you mean Qwen3-0.6B?" in caught.value.hint


def _model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / name).write_text("{}")
    return folder


def test_a_relative_folder_is_a_path_and_a_runs_model_a_name(home: Path) -> None:
    _model(home / "bases" / "mine")
    (home / "a.toml").write_text('model = "bases/mine"\ndata = ["x.jsonl"]\n')
    assert load(home / "a.toml").model == str(home / "bases" / "mine")
    run = "20261128-1200-captain-7f3a"
    merged = _model(jobs_directory() / run / "merged")
    (home / "a.toml").write_text(f'model = "{run}/merged"\ndata = ["x.jsonl"]\n')
    assert resolve(load(home / "a.toml").model) == merged
    with pytest.raises(LuthierError, match="is a run, not a model") as caught:
        resolve(run)
    assert f'"{run}/merged"' in caught.value.hint


def test_files_and_adapters_are_no_models(home: Path) -> None:
    whole = _model(home / "whole")
    (home / "m.gguf").write_bytes(b"GGUF")
    adapter = home / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": "acme/Base-1B"})
    )
    (adapter / "adapter_model.safetensors").write_text("{}")
    for named, said, hint in (
        (str(home / "m.gguf"), "single file", f"luthier models import {home / 'm.gguf'}"),
        (str(whole / "config.json"), "is a file", str(whole)),
        (str(whole / "model.safetensors"), "is a file", str(whole)),
        (
            str(adapter),
            "an adapter of acme/Base-1B",
            f"luthier merge --base BASE --adapter {adapter}",
        ),
        ("~nobody-here/model", "~nobody-here/model", ""),
        ("https://example.com/models/x.zip", "is a web address", "Download it"),
    ):
        with pytest.raises(LuthierError) as caught:
            resolve(named)
        assert said in caught.value.message
        assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("entry", "hint"),
    [
        ("HuggingFaceH4/ultrachat_200k", '"hub:HuggingFaceH4/ultrachat_200k"'),
        ("https://huggingface.co/datasets/tatsu-lab/alpaca", '"hub:tatsu-lab/alpaca"'),
        (
            "https://huggingface.co/datasets/tatsu-lab/alpaca/tree/main/data",
            '"hub:tatsu-lab/alpaca"',
        ),
        ("hf://datasets/tatsu-lab/alpaca", '"hub:tatsu-lab/alpaca"'),
        ("https://example.com/train.jsonl", "Download it"),
        ("s3://bucket/train.jsonl", "Download it"),
        ("data/train.jsonl", "In a recipe, paths are relative"),
        ("~nobody-here/train.jsonl", "In a recipe, paths are relative"),
    ],
)
def test_data_of_the_hub_and_addresses_are_named_as_such(home: Path, entry: str, hint: str) -> None:
    (home / "a.toml").write_text(f'data = ["{entry}"]\n')
    with pytest.raises(LuthierError) as caught:
        source_files(load(home / "a.toml").sources[0].path)
    assert hint in caught.value.hint


def test_a_file_is_no_name_of_the_hub() -> None:
    assert not any(
        map(
            hub_name,
            ("data/train.jsonl", "./a/b", "/a/b", "builtin", "a/b/c", "~/x", "out/m.gguf", ""),
        )
    )
    assert hub_name("mistralai/Mistral-7B-v0.1") == "mistralai/Mistral-7B-v0.1"
