"""What models.folder reads in a folder is what transformers and vLLM read in it (tests/real/
test_folder.py asks both)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.luthier_error import LuthierError
from models.card import Card, write_card
from models.folder import ModelFolder
from models.merge.config_files import write_stops
from tests.models.odd_folders import END, FOLDERS, TURN_END, OddFolder


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_of_every_odd_sort(name: str, tmp_path: Path) -> None:
    odd = FOLDERS[name]
    model = ModelFolder(odd.write(tmp_path / "model"))
    assert model.stop_ids == set(odd.stops)
    assert (model.chat_template, model.tool_template) == (odd.template, odd.tool_template)
    assert (model.vocabulary_size, model.context_length) == (odd.vocabulary, odd.context)
    standing = model.template_source
    assert (model.path / standing).is_file() if odd.template else standing == ""


def test_unigrams_tokens_are_counted_in_order(tmp_path: Path) -> None:
    vocabulary = [["<unk>", 0.0], ["</s>", -1.0]]
    OddFolder(
        {
            "tokenizer.json": {"model": {"type": "Unigram", "vocab": vocabulary}},
            "tokenizer_config.json": {"eos_token": "</s>"},
        }
    ).write(tmp_path)
    assert ModelFolder(tmp_path).eos_token_id == 1


def test_a_size_that_text_config_leaves_out_is_the_outer_one(tmp_path: Path) -> None:
    config = {"vocab_size": 99, "max_position_embeddings": 8, "text_config": {"hidden_size": 4}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = ModelFolder(tmp_path)
    assert (model.vocabulary_size, model.context_length) == (99, 8)
    assert model.text_config["hidden_size"] == 4
    (tmp_path / "config.json").write_text('{"vocab_size": 5, "text_config": null}')
    assert ModelFolder(tmp_path).vocabulary_size == 5


ASKED: dict[str, Callable[[ModelFolder], object]] = {
    "config.json": lambda model: model.config,
    "generation_config.json": lambda model: model.stop_ids,
    "tokenizer_config.json": lambda model: model.chat_template,
    "tokenizer.json": lambda model: model.stop_ids,
    "chat_template.jinja": lambda model: model.chat_template,
    "card.json": lambda model: model.card,
    "adapter_config.json": lambda model: model.adapter_config,
}


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize("content", [b"\xff\xfe", b"[1", b'{"eos_token_id": "x", "r": "x"}'])
def test_a_damaged_file_is_one_error_that_names_it(
    name: str, content: bytes, tmp_path: Path
) -> None:
    FOLDERS["eos in config.json alone"].write(tmp_path)
    fine = {
        "chat_template.jinja": (b"[1", b'{"eos_token_id": "x", "r": "x"}'),
        "tokenizer_config.json": (b'{"eos_token_id": "x", "r": "x"}',),
        "tokenizer.json": (b'{"eos_token_id": "x", "r": "x"}',),
        "card.json": (b'{"eos_token_id": "x", "r": "x"}',),
    }
    (tmp_path / name).write_bytes(content)
    if content in fine.get(name, ()):
        ASKED[name](ModelFolder(tmp_path))
        return
    with pytest.raises(LuthierError, match=r"^Unreadable (model|adapter): ") as caught:
        ASKED[name](ModelFolder(tmp_path))
    assert name in caught.value.message


def test_a_folder_without_a_config_is_no_model(tmp_path: Path) -> None:
    model = ModelFolder(tmp_path)
    with pytest.raises(LuthierError, match="Not a model"):
        _ = model.config
    assert not model.stop_ids
    assert (model.chat_template, model.vocabulary_size) == (None, None)
    assert (model.card, model.card_damage, model.is_adapter) == (Card(), "", False)


def test_a_card_keeps_what_a_run_says_of_its_adapter(tmp_path: Path) -> None:
    card = Card(run="r", step=12, which="best", base_bits=4, stop_ids=[2, 7], warnings=["odd"])
    write_card(tmp_path, card)
    assert ModelFolder(tmp_path).card == card
    (tmp_path / "card.json").write_text('{"stop_ids": ["a"]}')
    damaged = ModelFolder(tmp_path)
    assert damaged.shown_card == Card() and damaged.card_damage.startswith("card.json is damaged")
    with pytest.raises(LuthierError, match="Unreadable model"):
        _ = damaged.card


def test_a_merged_model_names_the_stops_that_its_base_had_in_config_json(tmp_path: Path) -> None:
    FOLDERS["eos in config.json alone"].write(tmp_path)
    assert write_stops(tmp_path, [9]) == [END, TURN_END, 9]
    assert ModelFolder(tmp_path).stop_ids == {END, TURN_END, 9}


def test_a_merged_model_names_no_stop_that_its_base_did_not_end_at(tmp_path: Path) -> None:
    """config.json is not read where there is a generation_config.json."""
    FOLDERS["a generation_config.json that names no eos"].write(tmp_path)
    assert write_stops(tmp_path, [TURN_END]) == [TURN_END]
    assert ModelFolder(tmp_path).stop_ids == {END, TURN_END}


def test_the_files_of_a_tokenizer(tmp_path: Path) -> None:
    FOLDERS["additional_chat_templates"].write(tmp_path)
    (tmp_path / "model.safetensors").touch()
    assert [path.name for path in ModelFolder(tmp_path).tokenizer_files] == [
        "additional_chat_templates",
        "chat_template.jinja",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_the_order_in_which_peft_has_saved_its_sets_makes_no_other_adapter(tmp_path: Path) -> None:
    config = tmp_path / "adapter_config.json"
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    identities = set()
    for modules in (["q_proj", "v_proj"], ["v_proj", "q_proj"], ["v_proj"], "all-linear"):
        config.write_text(json.dumps({"r": 4, "target_modules": modules}))
        identities.add(ModelFolder(tmp_path).identity())
    config.write_text("[no config")
    assert len(identities | {ModelFolder(tmp_path).identity()}) == 4
    (tmp_path / "adapter_model.safetensors").write_bytes(b"other weights")
    assert ModelFolder(tmp_path).identity() not in identities
