"""Recipes: strict decoding, errors that name the key, and a frozen copy that says the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jobs.luthier_error import LuthierError
from trainer.data.formats import Mapping
from trainer.data.policies import Policies
from trainer.data.settings import Mask, Source
from trainer.data.split import Heldout
from trainer.key_facts import described_keys, resume_rows
from trainer.recipe import Lora, Recipe, Train, keys, load, parse, to_toml

DOCS = Path(__file__).parents[2] / "docs"
BESIDE = {"mask", "format"}  # sections, and also keys of [policy] and [format]
BAD = [
    (
        'data = ["x"]\n[train]\nlearnig_rate = 1',
        "train.learnig_rate",
        "Did you mean train.learning_rate?",
    ),
    ('data = ["x"]\n[trian]\nepochs = 1', "trian", "Did you mean train?"),
    ('data = ["x"]\nepochs = 1', "epochs", "epochs belongs to [train]."),
    (
        'data = ["x"]\n[lora]\nzzz = 1',
        "lora.zzz",
        "Known here: r, alpha, dropout, targets, experts, rslora, dora, plus_ratio.",
    ),
    ("", "data is required", 'Add it, for example data = ["file.jsonl"].'),
    ("data = []", "data", ""),
    ('data = ["x"]\n[train]\nepochs = "a"', "train.epochs: expected `float`, got `str`", ""),
    ('data = ["x"]\n[train]\nepochs = -1', "train.epochs: expected `float` > 0.0", ""),
    ('data = ["x"]\n[train]\nschedule = "sine"', "train.schedule", ""),
    (
        'data = ["x"]\n[policy]\nempty_trun = "drop"',
        "policy.empty_trun",
        "Did you mean policy.empty_turn?",
    ),
    ('data = ["x"]\n[policy]\ndamage = "repair"', "policy.damage", ""),
    ('[[data]]\npath = "x"\nwieght = 2', "data[0].wieght", "Did you mean data[0].weight?"),
    ('data = ["x"]\n[format]\nformat = "csv"', "format.format", ""),
    ('data = ["x"]\n[mask]\nturns = "some"', "mask.turns", ""),
    ("data = [", "Invalid value", "Strings need quotes"),
    (
        'data = ["x"]\nsharding = "fsdp"',
        "sharding must be one of auto, none, fsdp2, but it is fsdp.",
        "docs/recipe.md",
    ),
    (
        'data = ["x"]\ngpus = "al"',
        "gpus must be one of all, a number, but it is al.",
        "docs/recipe.md",
    ),
    (
        'data = ["x"]\n[train]\nbase_bits = 5',
        "train.base_bits must be one of auto, 16, 8, 4, but it is 5.",
        "docs/recipe.md",
    ),
    (
        'data = ["x"]\n[train]\nfloat8 = "no"',
        "train.float8 must be one of auto, true, false, but it is no.",
        "docs/recipe.md",
    ),
    (
        'data = ["x"]\n[lora]\ntargets = "q_proj"',
        "lora.targets must be one of all-linear, a list, but it is q_proj.",
        "docs/recipe.md",
    ),
]


@pytest.mark.parametrize(("text", "message", "hint"), BAD)
def test_a_bad_recipe_is_told_by_file_key_and_nearest_valid_one(
    text: str, message: str, hint: str
) -> None:
    with pytest.raises(LuthierError) as caught:
        parse(text, "my.toml")
    assert "my.toml" in caught.value.message
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_a_frozen_recipe_says_the_same() -> None:
    recipe = Recipe(
        data=["/a.jsonl", Source("/b.jsonl", 0.5)],
        name="x",
        train=Train(epochs=1.5, seed=7),
        lora=Lora(r=8),
        format=Mapping("alpaca", {"output": "reply"}),
        policy=Policies(empty_turn="drop"),
        mask=Mask("last"),
        heldout=Heldout(leaks="report"),
    )
    assert parse(to_toml(recipe), "frozen") == recipe


def test_paths_are_relative_to_the_recipe_and_its_name_is_the_files(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'data = ["a.jsonl", "/b.jsonl", "hub:owner/name", {path = "c", weight = 2}]\nmodel ='
        ' "./base"\n'
    )
    recipe = load(path)
    assert recipe.data == [
        str(tmp_path / "a.jsonl"),
        "/b.jsonl",
        "hub:owner/name",
        Source(str(tmp_path / "c"), 2.0),
    ]
    assert recipe.model == str(tmp_path / "base")
    assert recipe.name == "mine"


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    for path in (tmp_path / "nix.toml", tmp_path, tmp_path / "binary.toml"):
        with pytest.raises(LuthierError, match=str(path)):
            load(path)


def test_the_guide_documents_every_key() -> None:
    guide = (DOCS / "recipe.md").read_text()
    missing = [
        f"{section}.{key}"
        for section, names in keys().items()
        for key in names
        if f"`{key}`" not in guide
    ]
    assert not missing


def test_the_guide_has_what_each_key_says_of_itself() -> None:
    """The rows of its table are made of trainer.recipe: what is missing can be pasted there."""
    rows = (DOCS / "recipe.md").read_text().splitlines()
    assert [key.row for key in described_keys(Recipe) if key.row not in rows] == []


def test_a_row_that_the_recipe_no_longer_has_is_not_in_the_guide() -> None:
    described = {key.name.rpartition(".")[2] for key in described_keys(Recipe)}
    rows = {key.row for key in described_keys(Recipe)}
    stale = [
        line
        for line in (DOCS / "recipe.md").read_text().splitlines()
        if (name := re.match(r"\| `(\w+)` \|.*\|.*\|$", line))
        and name[1] in described - BESIDE
        and line not in rows
    ]
    assert stale == []


def test_the_guide_says_which_keys_need_a_new_run_and_which_none() -> None:
    rows = (DOCS / "runs.md").read_text().splitlines()
    assert [row for row in resume_rows(Recipe) if row not in rows] == []


def test_facts_of_keys() -> None:
    facts = {key.name: key.facts for key in described_keys(Recipe)}
    assert facts["train.optimizer"].resume == "never" and facts["checkpoints"].resume == "free"
    assert facts["train.epochs"].resume == "forced" and facts["train.learning_rate"].short == "lr"
