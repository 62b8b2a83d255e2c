"""Sections [format] for layouts of a user's own: which are proposed, in which order, and that each
does what it says."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jobs.luthier_error import LuthierError
from tests.trainer.data.stub import talk, write
from trainer.data.formats import Mapping, recognise
from trainer.data.policies import Policies, SpecialTexts
from trainer.data.preview import look
from trainer.data.proposals import Proposal, propose
from trainer.data.reading import Reader, proposals
from trainer.data.refused_data import RefusedData
from trainer.key_values import as_text
from trainer.recipe import Recipe
from trainer.recipe_changes import with_changes
from trainer.recipe_draft import RecipeDraft

Row = dict[str, Any]


def proposed(rows: list[Row], mapping: Mapping | None = None) -> list[Proposal]:
    """The proposals, each of which does what it says once it stands in a recipe."""
    found = propose(rows, mapping or Mapping(), Policies())
    for proposal in found:
        section = msgspec.convert(tomllib.loads(proposal.toml)["format"], Mapping)
        assert section == proposal.mapping
        assert proposal.title.startswith(f"{proposal.rows} of {len(rows)} row")
        for place, converted in proposal.examples:
            assert recognise(rows, section).convert(rows[place]).messages == converted.messages
    return found


def chat(*said: str) -> list[Row]:
    return [{"from": ("human", "gpt")[place % 2], "value": text} for place, text in enumerate(said)]


CASES: list[tuple[list[Row], str]] = [
    (
        [{"data": {"conversation": chat("a", "b")}}] * 12,
        "12 of 12 rows would be read as ShareGPT if `data.conversation` were the turns",
    ),
    (
        [
            {
                "data": (
                    '{"talk": [{"role": "user", "content": "a"}, {"role": "assistant", "content":'
                    ' "b"}]}'
                )
            }
        ],
        "`data.talk` were the turns",
    ),
    (
        [{"problem": "1+1?", "solution": "2", "level": "Level 1"}],
        "`problem` were the prompt and `solution` the completion",
    ),
    (
        [{"frage": "Wo?", "antwort": "Dort.", "id": "x"}] * 2,
        "`frage` were the prompt and `antwort` the completion",
    ),
    (
        [{"item": {"q": "Who?", "a": "Me."}, "meta": {"lang": "en"}}],
        "`item.q` were the prompt and `item.a` the completion",
    ),
    (
        [
            {
                "log": [
                    {"who": "kirk", "says": "Where are we?"},
                    {"who": "spock", "says": "In space."},
                ]
            }
        ],
        "`log` were the turns, `who` the speaker and `says` the text",
    ),
    (
        [
            {"prompt": "a", "response": "b", "score": 1},
            {"prompt": "a", "response": "b", "score": 5},
        ],
        "where `score` is at least 5",
    ),
    ([{"prompt": "a", "response": "b", "winner": "model_a"}], "where `winner` is model_a"),
    (
        [{"documents": ["A long passage."], "messages": talk("a", "b")["messages"]}],
        "joined the prompt",
    ),
]


@pytest.mark.parametrize(("rows", "words"), CASES)
def test_the_best_comes_first(rows: list[Row], words: str) -> None:
    found = proposed(rows)
    assert words in found[0].title
    assert all(len(proposal.examples) == min(3, proposal.rows) for proposal in found)


@pytest.mark.parametrize(("rows", "words"), CASES)
def test_what_refused_data_propose_makes_a_recipe_that_reads_them(
    rows: list[Row], words: str, tmp_path: Path
) -> None:
    data = write(tmp_path / "data.jsonl", rows)
    draft = RecipeDraft(f'data = ["{data}"]\n[format]\nignore = ["note"]\n')
    with pytest.raises(RefusedData) as refusal:
        look(recipe_of(draft).data_settings)
    best, *_ = refusal.value.proposals
    assert words in best.title
    typed = [f"{key}={as_text(value)}" for key, value in best.values.items()]
    for key, value in best.values.items():
        draft = draft.with_value(key, value)
    assert with_changes(RecipeDraft(f'data = ["{data}"]\n'), typed).value("format").items() <= (
        draft.value("format").items()
    )
    assert look(recipe_of(draft).data_settings).conversations > 0


def recipe_of(draft: RecipeDraft) -> Recipe:
    recipe = draft.asked()
    assert isinstance(recipe, Recipe)
    return recipe


def test_leaving_a_judgement_aside_is_the_last_way_out() -> None:
    found = proposed(
        [{"prompt": f"{score}?", "response": "b", "score": score} for score in range(5)]
    )
    assert [bool(proposal.mapping.ignore) for proposal in found] == [False, True]
    assert [proposal.rows for proposal in found] == [1, 5]


def test_what_a_recipe_says_already_stays() -> None:
    found = proposed(
        [{"prompt": "a", "response": "b", "score": 3, "rating": 4}], Mapping(ignore=["score"])
    )
    assert all("score" in proposal.mapping.ignore for proposal in found)


def test_rows_that_are_read_or_make_nothing_are_proposed_nothing() -> None:
    assert proposed([{"prompt": "a", "completion": "b"}]) == []
    assert proposed([{"number": 1}]) == []
    assert proposed([{"text": "Some text.", "label": "positive"}]) == []


def test_the_error_says_what_the_columns_hold_and_what_is_nearest(tmp_path: Path) -> None:
    data = write(tmp_path / "data.jsonl", [{"data": {"conversation": chat("a", "b")}, "id": 1}])
    with pytest.raises(LuthierError) as caught:
        list(Reader(Mapping(), Policies(), SpecialTexts()).rows(str(data)))
    assert "`data` holds an object with conversation; `id` holds numbers." in caught.value.message
    assert (
        "ShareGPT if `data.conversation` were the turns:\n[format]\ncolumns = {turns ="
        ' "data.conversation"}' in caught.value.hint
    )
    with pytest.raises(
        LuthierError, match="The nearest format is Alpaca, which also needs `output`"
    ) as caught:
        recognise([{"instruction": "a", "numbers": [1], "0": {"0": 1}}])
    assert (
        "`numbers` holds a list of numbers; `0` holds an object of numbered values"
        in caught.value.message
    )


def test_the_first_file_that_needs_it_is_proposed_for(tmp_path: Path) -> None:
    fine = write(tmp_path / "a.jsonl", [{"prompt": "a", "completion": "b"}])
    odd = write(tmp_path / "b.jsonl", [{"problem": "a", "solution": "b"}])
    found = proposals([str(fine), str(odd)], Mapping(), Policies())
    assert found is not None and found[0] == str(odd) and found[2][0].rows == 1
    assert proposals([str(fine)], Mapping(), Policies()) is None
