"""Starting points: each is a whole recipe, says what it is for, and takes a model and data of one's
own."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from jobs.luthier_error import LuthierError
from trainer.presets import Preset, find_preset, presets
from trainer.recipe import parse
from tui.cli import luthier


@pytest.mark.parametrize("preset", presets(), ids=lambda preset: preset.name)
def test_each_is_a_recipe_that_says_what_it_is_for_and_whose_it_is(preset: Preset) -> None:
    recipe = parse(preset.text, preset.name)
    assert len(preset.purpose) > 20
    assert "# After " in preset.text
    assert "luthier models import hub:" in preset.text
    assert recipe.data
    assert parse(
        preset.written_for("/models/mine", ["/data/a.jsonl", "b.csv"]), preset.name
    ).data == ["/data/a.jsonl", "b.csv"]


def test_they_are_what_they_reproduce() -> None:
    recipes = {preset.name: parse(preset.text, preset.name) for preset in presets()}
    chatml = [recipe for recipe in recipes.values() if recipe.tokens.template == "chatml"]
    assert len(chatml) == 4
    assert {
        (recipe.train.base_bits, recipe.lora.r, tuple(recipe.tokens.add)) for recipe in chatml
    } == {(4, 64, ("<|im_start|>", "<|im_end|>"))}
    assert recipes["vicuna-7b-8bit"].train.base_bits == 8
    assert (
        recipes["llama-3.2-3b-chat"].train.base_bits
        == recipes["llama-3-8b-alpaca"].train.base_bits
        == 4
    )


def test_comments_stay_when_model_and_data_are_put_in() -> None:
    preset = find_preset("mistral-7b-oasst")
    text = preset.written_for("./base", [])
    assert text.startswith(f"# {preset.purpose}\n")
    assert 'model = "./base"' in text
    assert 'data = ["oasst.parquet"]' in text


def test_a_misspelt_name_is_told_with_the_nearest() -> None:
    with pytest.raises(LuthierError) as caught:
        find_preset("vicuna-7b")
    assert "vicuna-7b-8bit" in caught.value.hint


def test_the_command_lists_them_and_prints_one() -> None:
    run = CliRunner().invoke
    listed = run(luthier, ["recipes", "--json"])
    assert [entry["name"] for entry in json.loads(listed.stdout)] == [
        preset.name for preset in presets()
    ]
    printed = run(
        luthier, ["recipes", "vicuna-7b-8bit", "--model", "builtin", "--data", "talk.json"]
    )
    assert parse(printed.stdout, "printed").model == "builtin"
    assert "vicuna-7b-8bit" in run(luthier, ["recipes"]).stdout
    assert run(luthier, ["recipes", "--model", "x"]).exit_code == 2


def test_the_command_changes_keys_on_the_way() -> None:
    def run(*changes: str) -> Result:
        options = [part for change in changes for part in ("--set", change)]
        return CliRunner().invoke(luthier, ["recipes", "mistral-7b-oasst", *options])

    text = run("train.base_bits=16", "heldout.files=a.jsonl, b.jsonl", "name=x").stdout
    recipe = parse(text, "printed")
    assert (recipe.train.base_bits, recipe.name) == (16, "x")
    assert recipe.heldout.files == ["a.jsonl", "b.jsonl"]
    assert "# Mistral 7B (base)" in text
    for change, says in (
        ("train.base_bit=16", "train.base_bits"),
        ("train.base_bits=7", "one of auto, 16, 8, 4"),
        ("train.epochs", "KEY=VALUE"),
        ("=", "no key"),
    ):
        refused = run(change)
        error = refused.exception
        assert isinstance(error, LuthierError)
        assert says in error.message + error.hint
