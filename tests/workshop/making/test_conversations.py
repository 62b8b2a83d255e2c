"""Transcripts and running text become conversations without a model; every passage has one end; a
recipe of one's own is read strictly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.luthier_error import LuthierError
from tests.workshop.making import written
from tui.commands import make as command
from workshop.making.conversations import Conversations, continued, split, spoken
from workshop.making.documents.document import Block, Document
from workshop.making.location import Location
from workshop.making.order import Role
from workshop.making.passages import Passage
from workshop.making.recipe import METHODS, MakingRecipe, Passages, copy, load
from workshop.making.speakers import roles_of

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("documents")]


def passage(number: int, text: str, speaker: str = "", file: str = "a.txt") -> Passage:
    return Passage(number, text, Location(file, number, number + 1), "en", speaker=speaker)


def talk(*turns: tuple[str, str]) -> list[Passage]:
    return [passage(number, text, name) for number, (name, text) in enumerate(turns)]


def says(conversations: Conversations) -> list[list[tuple[str, str]]]:
    return [
        [(message["role"], message["content"]) for message in row.messages]
        for row in conversations.rows
    ]


ROLES: dict[str, Role] = {"Ada": "assistant", "Ben": "user", "Cleo": "user", "Ad": "drop"}


def test_a_talk_begins_with_a_user_and_ends_with_the_assistant() -> None:
    conversations = Conversations()
    turns = talk(
        ("Ada", "Welcome."), ("Ben", "Hi."), ("Cleo", "Hello."), ("Ad", "Buy this!"),
        ("Ada", "Good day."), ("Ada", "How are you?"), ("Ben", "Well."), ("Ada", "Fine."),
        ("Ben", "Bye."),
    )  # fmt: skip
    spoken(turns, ROLES, MakingRecipe("dialogue", turns=1), conversations)
    assert says(conversations) == [
        [("user", "Hi.\nHello."), ("assistant", "Good day.\nHow are you?")],
        [("user", "Well."), ("assistant", "Fine.")],
    ]
    reasons = {entry.number: entry.reason for entry in conversations.entries.values()}
    assert (reasons[0], reasons[3], reasons[8]) == (
        "no_question_before", "dropped_speaker", "no_answer_after",
    )  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.sampled_from([*ROLES]), max_size=40), st.integers(1, 5))
def test_every_turn_has_one_end(speakers: list[str], turns: int) -> None:
    conversations = Conversations()
    stretch = talk(*((name, f"{name} speaks, {number}.") for number, name in enumerate(speakers)))
    spoken(stretch, ROLES, MakingRecipe("dialogue", turns=turns), conversations)
    split(conversations, 0.3)
    assert sorted(conversations.entries) == list(range(len(speakers)))
    in_rows = [each.number for row in conversations.rows for each in row.passages]
    kept = [entry.number for entry in conversations.entries.values() if entry.state == "kept"]
    assert sorted(in_rows) == sorted(kept)
    for row in conversations.rows:
        roles = [message["role"] for message in row.messages]
        assert roles == ["user", "assistant"] * (len(roles) // 2) and len(roles) <= 2 * turns


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 60), unique=True, max_size=40).map(sorted),
    st.integers(1, 5),
    st.floats(0, 0.9),
)
def test_a_text_goes_on_without_a_gap_and_no_passage_is_on_both_sides(
    numbers: list[int], turns: int, share: float
) -> None:
    conversations = Conversations()
    recipe = MakingRecipe("continue", turns=turns)
    continued([passage(number, f"Text {number}.") for number in numbers], recipe, conversations)
    split(conversations, share)
    assert sorted(conversations.entries) == numbers
    used = [[each.number for each in row.passages] for row in conversations.rows]
    assert all(group == list(range(group[0], group[0] + len(group))) for group in used)
    flat = [number for group in used for number in group]
    assert len(flat) == len(set(flat))
    if share and len(used) > 1:
        assert any(row.part == "heldout" for row in conversations.rows)


def test_a_passage_stays_in_its_part_when_documents_are_added() -> None:
    def parts(count: int) -> dict[str, str]:
        conversations = Conversations()
        texts = [passage(2 * number, f"Text {number}.") for number in range(count)]
        pairs = [each for text in texts for each in (text, passage(text.number + 1, "More."))]
        continued(pairs, MakingRecipe("continue", turns=1), conversations)
        split(conversations, 0.3)
        return {row.passages[0].text: row.part for row in conversations.rows}

    few, many = parts(20), parts(60)
    assert {text: many[text] for text in few} == few
    assert 6 <= list(many.values()).count("heldout") <= 30


def test_of_two_speakers_who_says_more_is_the_assistant_and_of_three_nobody_is() -> None:
    def transcript(*names: str) -> Document:
        blocks = [Block(f"I am {name}." * len(name), speaker=name) for name in names]
        return Document("t.txt", "transcript", blocks)

    assert roles_of([transcript("Ben", "Theodora")], {}) == {
        "": "drop", "Theodora": "assistant", "Ben": "user",
    }  # fmt: skip
    with pytest.raises(LuthierError, match="Who is the assistant"):
        roles_of([transcript("Ben", "Theodora", "Ada")], {})
    roles = roles_of([transcript("Ben", "Theodora", "Ada")], {"ada": "assistant"})
    assert (roles["Ada"], roles["Ben"]) == ("assistant", "user")
    with pytest.raises(LuthierError, match="Nobody is called") as refused:
        roles_of([transcript("Ben", "Theodora")], {"Teodora": "assistant"})
    assert "Theodora" in refused.value.hint
    with pytest.raises(LuthierError, match="no speaker is named"):
        roles_of([Document("a.txt", "text", [Block("Nobody speaks here.")])], {})


def test_the_command_makes_a_talk_and_shows_it_first(tmp_path: Path) -> None:
    path, out = written.subtitles(tmp_path / "talk.vtt"), tmp_path / "made"
    arguments = [str(path), "--recipe", "dialogue", "--out", str(out), "--json"]
    printed_plan = CliRunner().invoke(command.make, [*arguments, "--plan"])
    plan = json.loads(printed_plan.stdout)
    assert [(each["name"], each["role"], each["turns"]) for each in plan["speakers"]] == [
        ("Ole", "assistant", 3), ("Mara", "user", 3),
    ]  # fmt: skip
    assert not out.exists()
    result = json.loads(CliRunner().invoke(command.make, arguments).stdout)
    assert (result["train"], result["heldout"], result["kept"]) == (1, 0, 6)
    row = json.loads((out / "train.jsonl").read_text())
    assert row["messages"][0] == {"role": "user", "content": written.TALK[0][1]}
    assert row["source"]["begins"] == 0.0 and row["source"]["ends"] == 34.5
    other = [*arguments[:-1], "--speaker", "Mara=assistant"]
    refused = CliRunner().invoke(command.make, other)
    assert isinstance(refused.exception, LuthierError)


def test_what_it_makes_is_data_that_training_takes(tmp_path: Path) -> None:
    from trainer.recipe import load as load_training

    book, out = written.text_book(tmp_path / "keeper.txt"), tmp_path / "made"
    recipe = tmp_path / "short"
    copy("continue", recipe)
    text = (recipe / "recipe.toml").read_text()
    (recipe / "recipe.toml").write_text(text.replace("= 300", "= 100").replace("= 1200", "= 400"))
    arguments = [str(book), "--recipe", str(recipe), "--out", str(out), "--json"]
    result = json.loads(CliRunner().invoke(command.make, arguments).stdout)
    training = load_training(out / "recipe.toml")
    assert training.sources[0].path == str(out / "train.jsonl")
    assert result["train"] + result["heldout"] >= 1
    row = json.loads((out / "train.jsonl").read_text().splitlines()[0])
    assert row["messages"][0]["content"].startswith("Continue this text:\n\nThe lighthouse keeper")
    card = (out / "README.md").read_text()
    assert "keeper.txt, SHA-256" in card


def test_no_server_is_said_in_words(tmp_path: Path) -> None:
    book = written.text_book(tmp_path / "keeper.txt")
    answer = CliRunner().invoke(command.make, [str(book)])
    assert isinstance(answer.exception, LuthierError)
    assert answer.exception.title == "No model to ask"
    assert "luthier serve" in answer.exception.hint


@pytest.mark.parametrize("method", METHODS)
def test_a_packaged_recipe_is_copied_whole_and_means_the_same(tmp_path: Path, method: str) -> None:
    copy(method, tmp_path / "mine")
    assert load(str(tmp_path / "mine")) == load(method) == load(str(tmp_path / "mine/recipe.toml"))
    with pytest.raises(LuthierError, match="is not empty"):
        copy(method, tmp_path / "mine")


@pytest.mark.parametrize(
    ("file", "before", "after", "words"),
    [
        ("recipe.toml", "turns = 4", "turn = 4", "unknown key turn"),
        ("recipe.toml", "most_words = 40", "most_word = 40", "unknown key checks.most_word"),
        ("recipe.toml", "turns = 4", "turns = 0", "turns"),
        ("recipe.toml", 'method = "qa"', 'method = "quiz"', "method"),
        ("recipe.toml", "longest = 1200", "longest = 310", "less than twice"),
        ("recipe.toml", "heldout = 0.1", "heldout = ", "line"),
        ("questions.toml", "\n$passages", "\n$passage", r"\$passage stands for nothing"),
        ("questions.toml", "\n$passages", "\n$ 5", "a \\$ stands for nothing"),
        ("answers.toml", "user =", "usr =", "unknown key usr"),
    ],
)
def test_a_recipe_that_says_nothing_known_is_refused(
    tmp_path: Path, file: str, before: str, after: str, words: str
) -> None:
    copy("qa", tmp_path / "mine")
    path = tmp_path / "mine" / file
    path.write_text(path.read_text().replace(before, after, 1))
    with pytest.raises(LuthierError, match=words) as refused:
        load(str(tmp_path / "mine"))
    assert file in refused.value.message and refused.value.hint


def test_what_is_no_recipe_is_said(tmp_path: Path) -> None:
    with pytest.raises(LuthierError, match="neither a recipe") as refused:
        load("intervew")
    assert "interview" in refused.value.hint
    (tmp_path / "recipe.toml").write_text('method = "qa"\n')
    with pytest.raises(LuthierError):  # its prompts are missing
        load(str(tmp_path))
    assert Passages().longest >= 2 * Passages().shortest


def shown(arguments: list[str]) -> dict[str, Any]:
    plan: dict[str, Any] = json.loads(CliRunner().invoke(command.make, arguments).stdout)
    return plan


def test_a_folder_of_documents_is_read_in_its_order(tmp_path: Path) -> None:
    folder = tmp_path / "books"
    folder.mkdir()
    written.docx(folder / "b.docx")
    written.markdown(folder / "a.md")
    (folder / ".hidden.txt").write_text("Not this.")
    (folder / "data.csv").write_text("not,this")
    plan = shown([str(folder), "--recipe", "continue", "--plan", "--json"])
    assert [each["file"] for each in plan["documents"]] == ["a.md", "b.docx"]
    # the second is the first over again
    assert plan["usable"] == plan["passages"] / 2
