"""Why base and tuned differ: what was planted is found and clear, what chance does is not called
clear, and what two seeds do as well is said to be that."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from jobs.luthier_error import LuthierError
from serve.comparison.items import Item, read_items
from serve.comparison.journal import Entry
from serve.comparison.page import html
from serve.comparison.readings import FEW, holm
from serve.comparison.report import markdown, tables
from serve.comparison.slices import check_columns, slices
from serve.comparison.summary import Row, Scored, summary
from serve.comparison.traits import changes, opposite, traits
from serve.comparison.why import why
from serve.comparison.why_text import in_short
from tests.serve.test_comparison import conversations

NO_SCORES: Scored = ({}, "")
WORDS = [
    "the",
    "harbour",
    "is",
    "open",
    "from",
    "dawn",
    "until",
    "the",
    "last",
    "ferry",
    "leaves",
    "in",
    "the",
    "evening",
    "today",
]


def answer(text: str, reason: str = "stop") -> Entry:
    return {"text": text, "error": None, "reason": reason, "tokens": 9, "first_token": 0.1}


def plain(dice: random.Random) -> str:
    return f"{' '.join(dice.sample(WORDS, 10))}."


def rows_of(count: int, *speakers: Callable[[int], str], **columns: Sequence[Any]) -> list[Row]:
    """The first speaks as the base, the others as tuned models."""
    names = ["base", "tuned", "seed"][: len(speakers)]
    return [
        Row(
            Item(
                ({"role": "user", "content": f"question {number}"},),
                None,
                {name: values[number] for name, values in columns.items()},
            ),
            {name: answer(speak(number)) for name, speak in zip(names, speakers, strict=True)},
        )
        for number in range(count)
    ]


def speaker(seed: int, say: Callable[[str, int], str] = lambda text, number: text) -> Any:
    dice = random.Random(seed)
    return lambda number: say(plain(dice), number)


def of_tuned(rows: list[Row], **options: Any) -> dict[str, Any]:
    names = list(rows[0].answers)
    return dict(why(rows, names, NO_SCORES, {}, **options)["models"]["tuned"])


def readings(of_model: dict[str, Any]) -> dict[str, str]:
    return {measure["name"]: measure["reading"] for measure in of_model["measures"]} | {
        cluster["change"]: cluster["reading"] for cluster in of_model["clusters"]
    }


def seen(text: str, language: str = "") -> Any:
    return traits(answer(text), {text: language})


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("I'm sorry, but I can't help with that.", "The tide.", "answers now"),
        ("The tide.", "As an AI, I have no boat.", "refuses now"),
        ("Es ist Ebbe.", "Tut mir leid, ich kann dabei nicht helfen.", "refuses now"),
        ("one two three", " ".join(["word"] * 9), "longer"),
        ("- a\n- b\n- c", "a b c", "text with a list → one line"),
        ('{"a": 1}', "a is 1", "JSON → one line"),
        ("Yes.", "Aye!", "now exclaims"),
        ("I don't know.", "Nobody knows.", "no longer speaks as I"),
    ],
)
def test_what_a_detector_sees(before: str, after: str, expected: str) -> None:
    assert expected in [text for _, text in changes(seen(before), seen(after))]
    assert opposite(expected) in [text for _, text in changes(seen(after), seen(before))]


def test_a_detector_does_not_see_what_is_not_there() -> None:
    assert changes(seen("It can't rain today."), seen("It won't rain today.")) == []
    assert changes(seen("Bonjour", "fr"), seen("Hi")) == []  # not sure of both
    assert ("language", "fr → en") in changes(seen("Bonjour", "fr"), seen("Hello", "en"))


def test_what_was_planted_is_clear() -> None:
    rows = rows_of(20, speaker(1), speaker(2, lambda text, _: f"Aye, matey! {text[:20]}!"))
    traits = of_tuned(rows)
    assert readings(traits)["exclaims"] == readings(traits)["now exclaims"] == "clear"
    assert readings(traits)["words"] == readings(traits)["shorter"] == "clear"
    assert {"aye", "matey"} <= {word["word"] for word in traits["words"]["came"]}
    report = why(rows, ["base", "tuned"], NO_SCORES, {})
    assert any("shorter" in line for line in in_short(report))


def test_chance_is_not_called_clear() -> None:
    """Of 40 comparisons of equal speakers, at most a few may look clear: one in twenty."""
    clear = 0
    for trial in range(40):
        traits = of_tuned(rows_of(20, speaker(2 * trial), speaker(2 * trial + 1)))
        clear += "clear" in readings(traits).values() or bool(traits["words"]["came"])
    assert clear <= 4


def test_few_prompts_say_nothing() -> None:
    rows = rows_of(FEW - 1, speaker(1), speaker(2, lambda text, _: "Aye!"))
    traits = of_tuned(rows)
    assert set(readings(traits).values()) == {"few"}
    assert in_short(why(rows, ["base", "tuned"], NO_SCORES, {})) == [
        "7 prompts are too few to say anything."
    ]


def test_what_two_seeds_do_too_is_said_to_be_that() -> None:
    """The tuned models exclaim always, and each seed is longer or shorter as it falls."""
    dice = random.Random(5)

    def of_seed(text: str, _: int) -> str:
        return f"{' '.join([text] * dice.choice((1, 1, 3)))}!"

    rows = rows_of(24, speaker(1), speaker(2, of_seed), speaker(3, of_seed))
    without = readings(of_tuned(rows[:]))
    with_unit = of_tuned(rows, noise="seed")
    assert without["now exclaims"] == readings(with_unit)["now exclaims"] == "clear"
    assert readings(with_unit)["longer"] == "seeds" and readings(with_unit)["words"] == "seeds"
    assert without["longer"] == "clear"
    assert all(measure["unit"] is not None for measure in with_unit["measures"])


def test_flips_are_changes_of_the_result() -> None:
    def refusing(text: str, number: int) -> str:
        return "I'm sorry, but I can't help with that." if number in (3, 7) else f"{text}!"

    traits = of_tuned(rows_of(12, speaker(1), speaker(2, refusing)))
    assert [flip["question"] for flip in traits["flips"]] == [4, 8]
    assert "refuses now" in traits["flips"][0]["changes"]
    assert traits["changed"] == 12


def test_a_reference_makes_right_wrong_and_nearer() -> None:
    rows = rows_of(10, lambda n: "no", lambda n: "yes" if n < 9 else "no")
    rows = [Row(Item(row.item.messages, "yes"), row.answers) for row in rows]
    figures = summary(rows, ["base", "tuned"], None)
    scored = ({"exact match": {"base": [0.0] * 10, "tuned": [1.0] * 9 + [0.0]}}, "")
    traits = why(rows, ["base", "tuned"], scored, {})["models"]["tuned"]
    assert figures["metrics"]["exact match"]["tuned"]["mean"] == 0.9
    assert readings(traits)["right now"] == "clear" and len(traits["flips"]) == 9


def test_slices_of_words_numbers_and_nested_columns(tmp_path: Path) -> None:
    items = [
        Item((), None, {"topic": "sea" if n % 3 else None, "length": n, "meta": {"who": f"p{n}"}})
        for n in range(24)
    ]
    assert {name: len(part) for name, part in slices(items, "topic").items()} == {
        "sea": 16,
        "(none)": 8,
    }
    assert [len(part) for part in slices(items, "length").values()] == [6, 6, 6, 6]
    assert next(iter(slices(items, "length"))) == "0 to 5.75"
    assert len(slices(items, "meta.who")["(others)"]) == 4
    assert list(slices(items, "turn")) == ["1"]
    with pytest.raises(LuthierError, match="meta"):
        check_columns(items, ["meta.whom"])
    path = tmp_path / "x.jsonl"
    path.write_text('{"messages": [{"role": "user", "content": "a"}], "topic": "sea"}\n')
    assert read_items(path)[0].columns == {"topic": "sea"}
    path = conversations(tmp_path / "y.jsonl", [("user", "a"), ("assistant", "b"), ("user", "c")])
    assert [item.turn for item in read_items(path)] == [1, 2]


def test_a_small_slice_is_too_few_to_say() -> None:
    topics = ["sea"] * 16 + ["land"] * 4
    rows = rows_of(20, speaker(1), speaker(2, lambda text, _: text[:9]), topic=topics)
    parts = {part["value"]: part for part in of_tuned(rows, by=["topic"])["slices"]}
    assert parts["sea"]["measures"][0]["reading"] == "clear"
    assert parts["land"]["measures"][0]["reading"] == "few"


def test_holm_counts_how_many_were_looked_at() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.anchors: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        self.links += [str(values[name]) for name in ("href", "src") if name in values]
        self.anchors += [str(values["id"])] if "id" in values else []


def test_the_page_and_the_markdown_show_it_and_run_nothing() -> None:
    foreign = "<script>alert(1)</script> | `x`"
    rows = rows_of(20, speaker(1), speaker(2, lambda text, _: f"{foreign} {text}!"))
    names = ["base", "tuned"]
    figures = {**summary(rows, names, None), "why": why(rows, names, NO_SCORES, {}, by=["turn"])}
    page = html("tuned beside base", [("prompts", foreign)], figures, rows, names)
    parser = _Parser()
    parser.feed(page)
    assert not {"script", "link", "img", "iframe"} & set(parser.tags)
    assert all(link.removeprefix("#") in parser.anchors for link in parser.links)
    assert "now exclaims" in page and "By turn" in page and "In short" in page
    text = markdown("tuned beside base", [], figures, rows, names)
    assert "## In short" in text and "| now exclaims | 20 of 20 |" in text
    assert text.count("<details>") == text.count("</details>") == 1
    titles = [title for title, _, _ in tables(figures)]
    assert "Why tuned differs" in titles and "tuned by turn" in titles
