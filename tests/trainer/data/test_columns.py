"""Columns beside a conversation: what their names and values mean, and that none decides or is left
aside in silence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from jobs.luthier_error import LuthierError
from trainer.data.column_names import kind_of
from trainer.data.formats import Format, Mapping, recognise
from trainer.data.formats_turns import Message, RowProblem
from trainer.data.judgements import Judgement
from trainer.data.media import media_in
from trainer.data.policies import Policies, Rejected, SpecialTexts, settle
from trainer.data.reading import Reader
from trainer.recipe import Recipe, parse, to_toml

Row = dict[str, Any]
ANSWER = "The angle between two objects."


def settled(found: Format, row: Row, policies: Policies | None = None) -> list[Message] | str:
    """What is trained of a row, or why it is not."""
    try:
        return settle(found.convert(row), policies or Policies(), SpecialTexts()).messages
    except (RowProblem, Rejected) as problem:
        return str(problem.code)


# Names


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (
            (
                "label labels is_correct isCorrect accepted winner thumbs feedback kto_tag rejected"
                " chosen overall_preference toxic"
            ),
            "verdict",
        ),
        (
            (
                "score rating quality_score reward upvotes chosen-rating Helpfulness rank"
                " overall_rating stars"
            ),
            "score",
        ),
        (
            (
                "context passage documents source_text background_info article retrieved_docs"
                " wiki_context input knowledge"
            ),
            "context",
        ),
        (
            (
                "image images image_path img video_url audio pixel_values image_id screenshots"
                " audio_bytes frames image_1"
            ),
            "media",
        ),
        (
            (
                "id prompt_id source category label_id rating_model document_id image_caption"
                " video_id context_length language title"
            ),
            None,
        ),
    ],
)
def test_names_say_what_a_column_means(names: str, kind: str | None) -> None:
    assert {name: kind_of(name) for name in names.split()} == dict.fromkeys(names.split(), kind)


@pytest.mark.parametrize(
    ("column", "good", "bad"),
    [
        (
            "label",
            [True, 1, "1", 1.0, "True", "good", "chosen", "Thumbs up", "👍"],
            [False, 0, -1, "0", "false", "bad", "Rejected", "👎"],
        ),
        ("rejected", [False, 0, "no", "chosen"], [True, 1, "yes", "rejected"]),
    ],
)
def test_verdicts(column: str, good: list[Any], bad: list[Any]) -> None:
    judge = Judgement(column)
    assert [judge.verdict(value) for value in good] == [True] * len(good)
    assert [judge.verdict(value) for value in bad] == [False] * len(bad)
    unreadable: list[Any] = [None, "sports", 2, [1], {}]
    assert [judge.verdict(value) for value in unreadable] == [None] * len(unreadable)


def test_a_recipe_says_what_is_good() -> None:
    assert [
        Judgement("score", at_least=4).verdict(value) for value in (4, "4.5", 3.9, None, "much")
    ] == [True, True, False, None, None]
    assert [Judgement("rank", at_most=1).verdict(value) for value in (1, 2)] == [True, False]
    assert [
        Judgement("winner", good=["model_a", "both"]).verdict(value)
        for value in ("Model A", "both", "model_b", None)
    ] == [
        *(True, True, False),
        None,
    ]


@pytest.mark.parametrize(
    ("content", "medium"),
    [
        ("<image>\nWhat is this?", "a picture"),
        ("Look: <image_1> and <image_2>", "a picture"),
        ("<|vision_start|><|image_pad|><|vision_end|>What?", "a picture"),
        ("<audio>What is said?", "a sound"),
        ("<video>", "a video"),
        ([{"type": "image"}, {"type": "text", "text": "What?"}], "a picture"),
        ([{"type": "input_audio", "input_audio": {"data": ""}}], "a sound"),
        ([{"image": "x.jpg"}, {"text": "What?"}], "a picture"),
        ([{"type": "video_url", "video_url": "x"}], "a video"),
        ("How does <video src='x'></video> play, and what of <video></video>?", None),
        ("What does the `<image>` tag do?", None),
        ("```html\n<audio>\n```", None),
        ("a < b and c > d", None),
        ([{"type": "text", "text": "an image"}], None),
    ],
)
def test_pictures_and_sounds_in_content(content: Any, medium: str | None) -> None:
    found = media_in(content)
    assert found is None if medium is None else found is not None and medium in found


# What becomes of rows


def answers(*values: Any, column: str = "label") -> list[Row]:
    return [
        {"prompt": f"Question {place}?", "completion": f"Answer {place}.", column: value}
        for place, value in enumerate(values)
    ]


@pytest.mark.parametrize("column", ["label", "is_correct", "accepted", "thumbs", "verdict"])
@pytest.mark.parametrize("bad", [False, 0, "0", "False", "bad", "rejected", -1, "no"])
def test_bad_answers_are_left_out_under_any_name(column: str, bad: Any) -> None:
    rows = answers(bad, bad, column=column)
    found = recognise(rows)
    assert [settled(found, row) for row in rows] == ["rejected", "rejected"]
    assert f"`{column}` says which answers are good" in found.reason


@pytest.mark.parametrize(
    "values", [(5, 1), (0.9, 0.1), (1, 1), ("A", "B"), ("Well done, friend.", "Poor."), (3, None)]
)
@pytest.mark.parametrize("column", ["score", "rating", "reward", "quality"])
def test_a_score_without_a_threshold_stops_and_says_what_to_write(
    column: str, values: tuple[Any, Any]
) -> None:
    rows = answers(*values, column=column)
    found = recognise(rows)
    assert "unread" in [settled(found, row) for row in rows]
    [(named, why, judgement)] = found.side.unread
    assert judgement is not None and judgement.column == column
    assert (
        named == column
        and f'ignore = ["{column}"]' in why
        and f'judgement = {{ column = "{column}"' in why
    )
    ignored = recognise(rows, Mapping(ignore=[column]))
    assert [len(settled(ignored, row)) for row in rows] == [2, 2]


def test_verdicts_on_the_steps_of_an_answer_are_none_on_the_answer() -> None:
    row = {"prompt": "a", "completions": ["b", "c"], "labels": [True, False]}
    found = recognise([row])
    assert settled(found, row) == "unread"
    assert (
        found.side.unread[0].judgement is None and 'ignore = ["labels"]' in found.side.unread[0].why
    )


def test_a_judgement_that_comes_late_is_not_left_aside() -> None:
    rows: list[Row] = [{"prompt": "a", "completion": "b"}] * 3
    found = recognise(rows)
    for column, value in {
        "label": False,
        "score": 3,
        "context": "A long passage.",
        "image": "x.jpg",
    }.items():
        assert settled(found, {**rows[0], column: value}) == (
            "media" if column == "image" else "unread"
        )
        assert len(settled(found, {**rows[0], column: None})) == 2
    assert len(settled(found, {**rows[0], "id": 7})) == 2
    empty = recognise([{"prompt": "a", "completion": "b", "label": None}] * 3)
    assert settled(empty, {"prompt": "a", "completion": "b", "label": False}) == "unread"


def test_answers_that_their_own_keys_mark_as_bad_are_context() -> None:
    turns = [
        ("user", "a", {}),
        ("assistant", "bad", {"label": False}),
        ("user", "c", {}),
        ("assistant", "good", {"label": True}),
    ]
    row = {"messages": [{"role": role, "content": text, **more} for role, text, more in turns]}
    found = recognise([row])
    assert found.convert(row).repairs == ("rejected_turn",)
    messages = settled(found, row)
    assert [message.get("weight", 1) for message in messages if isinstance(message, dict)] == [
        1,
        0,
        1,
        1,
    ]
    row["messages"][3]["score"] = 3
    assert settled(recognise([row]), row) == "unread"
    assert len(settled(recognise([row], Mapping(ignore=["messages[].score"])), row)) == 4


def test_a_verdict_inside_an_object_is_read() -> None:
    rows = [
        {"prompt": "a", "completion": "b", "metadata": {"is_correct": verdict, "id": 1}}
        for verdict in (True, False)
    ]
    found = recognise(rows)
    assert [settled(found, row) for row in rows][1] == "rejected"


@pytest.mark.parametrize(
    "column",
    [
        "context",
        "passage",
        "documents",
        "article",
        "source_text",
        "background",
        "knowledge",
        "retrieved",
    ],
)
@pytest.mark.parametrize(
    "wrap", [lambda text: text, lambda text: [text], lambda text: [{"title": "T", "text": text}]]
)
@pytest.mark.parametrize(
    "pair", [("question", "answer"), ("prompt", "completion"), ("instruction", "output")]
)
def test_context_joins_the_prompt(
    column: str, wrap: Callable[[str], Any], pair: tuple[str, str]
) -> None:
    text = "The sextant was made in 1731."
    rows: list[Row] = [{column: wrap(text), pair[0]: "When was it made?", pair[1]: "In 1731."}]
    found = recognise(rows)
    [asked, answered] = found.convert(rows[0]).messages
    assert (
        text in asked["content"]
        and "When was it made?" in asked["content"]
        and answered["content"] == "In 1731."
    )
    assert found.mapping.context == [column] and recognise(rows, found.mapping).convert(
        rows[0]
    ) == found.convert(rows[0])


def test_a_context_of_one_word_or_that_the_prompt_has_is_none() -> None:
    assert recognise([{"context": "general", "prompt": "a", "completion": "b"}]).unused == (
        "context",
    )
    text = "The sextant was made in 1731."
    row: Row = {
        "context": text,
        "messages": [
            {"role": "user", "content": f"{text} When?"},
            {"role": "assistant", "content": "In 1731."},
        ],
    }
    assert recognise([row]).unused == ("context",)


def test_a_column_that_a_recipe_names_and_no_row_has_is_an_error() -> None:
    for mapping in (Mapping(context=["contxt"]), Mapping(judgement=Judgement("scroe", at_least=1))):
        with pytest.raises(LuthierError, match=r"no row has(.|\n)*Did you mean (context|score)"):
            recognise(
                [{"context": "A passage.", "score": 1, "prompt": "a", "completion": "b"}], mapping
            )


def test_a_frozen_recipe_keeps_what_its_format_says() -> None:
    for mapping in (
        Mapping(),
        Mapping(judgement=Judgement("score", at_least=4), context=["documents"], ignore=["rating"]),
    ):
        recipe = Recipe(data=["x.jsonl"], format=mapping)
        assert parse(to_toml(recipe), "recipe.toml") == recipe


# Properties

NAMES = [
    *(
        "prompt",
        "completion",
        "question",
        "answer",
        "instruction",
        "output",
        "input",
        "messages",
        "chosen",
        "rejected",
        "context",
        "tools",
    ),
    *(
        "passage",
        "label",
        "score",
        "rating",
        "image",
        "system",
        "history",
        "text",
        "id",
        "source",
        "metadata",
        "notes",
        "winner",
        "documents",
    ),
]
TEXTS = st.sampled_from(
    [
        "",
        "Hello.",
        "The sextant was made in 1731.",
        "In 1731.",
        "bad",
        "good",
        "general",
        "Anna: a\nBo: b\nAnna: c",
    ]
)
CHAT = st.lists(TEXTS, min_size=1, max_size=4).map(
    lambda texts: [
        {"role": ("user", "assistant")[place % 2], "content": text}
        for place, text in enumerate(texts)
    ]
)
VALUES = st.one_of(
    TEXTS,
    st.none(),
    st.booleans(),
    st.integers(-1, 5),
    st.lists(TEXTS, max_size=3),
    CHAT,
    st.dictionaries(TEXTS, TEXTS),
)
SHAPES = st.sets(st.sampled_from(NAMES), min_size=2, max_size=7).map(sorted)


@pytest.mark.heavy
@hypothesis_settings(max_examples=1500, deadline=None)
@given(st.data(), SHAPES)
def test_no_row_is_trained_from_a_column_that_is_called_unused(
    data: st.DataObject, shape: list[str]
) -> None:
    rows = data.draw(
        st.lists(st.fixed_dictionaries(dict.fromkeys(shape, VALUES)), min_size=1, max_size=4)
    )
    try:
        found = recognise(rows)
    except LuthierError:
        return
    unused = [name for name in found.unused if name in shape]
    for name in unused:
        kind = kind_of(name)
        pair = found.name == "preference" and kind == "score"
        assert (
            kind not in ("verdict", "score")
            or pair
            or all(row[name] in (None, "", [], {}) for row in rows)
        )
    for row in rows:
        filled = [
            name for name in unused if any(row[name] not in (None, "", [], {}) for row in rows)
        ]
        other = {**row, **dict.fromkeys(filled, "SENTINEL")}
        assert settled(found, other) == settled(found, row)


GOOD = st.text("abcde ", min_size=1, max_size=12).map(lambda text: f"GOOD {text.strip()}")
BAD = st.text("abcde ", min_size=1, max_size=12).map(lambda text: f"BAD {text.strip()}")
SAID: dict[str, Callable[[str], Any]] = {
    "text": lambda text: text,
    "message": lambda text: {"role": "assistant", "content": text},
    "ShareGPT's message": lambda text: {"from": "gpt", "value": text},
    "messages": lambda text: [{"role": "assistant", "content": text}],
    "conversation": lambda text: [
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": text},
    ],
}
ASKED: dict[str, Callable[[], Row]] = {
    "prompt": lambda: {"prompt": "Why?"},
    "question": lambda: {"question": "Why?"},
    "instruction": lambda: {"instruction": "Why?", "input": ""},
    "messages": lambda: {"messages": [{"role": "user", "content": "Why?"}]},
    "conversations": lambda: {"conversations": [{"from": "human", "value": "Why?"}]},
    "OpenAI": lambda: {"input": {"messages": [{"role": "user", "content": "Why?"}]}},
}
PAIRS = [
    *[
        ("chosen", "rejected"),
        ("preferred_output", "non_preferred_output"),
        ("chosen_response", "rejected_response"),
    ],
    *[("completion", "rejected"), ("response", "rejected"), ("accepted", "rejected")],
]
MORE = st.fixed_dictionaries(
    {},
    optional={
        "score_chosen": st.just(1),
        "score_rejected": st.just(9),
        "id": st.just("x"),
        "system": st.just("Be kind."),
        "source": BAD,
    },
)


@hypothesis_settings(max_examples=400, deadline=None)
@given(
    st.data(),
    st.sampled_from(sorted(ASKED)),
    st.sampled_from(sorted(SAID)),
    st.sampled_from(PAIRS),
    MORE,
)
def test_no_rejected_answer_of_a_pair_is_trained(
    data: st.DataObject, asked: str, said: str, pair: tuple[str, str], more: Row
) -> None:
    wrap = SAID[said]
    row = {**ASKED[asked](), pair[0]: wrap(data.draw(GOOD)), pair[1]: wrap(data.draw(BAD)), **more}
    row = dict(data.draw(st.permutations(list(row.items()))))
    found = recognise([row])
    messages = settled(found, row)
    assert not isinstance(messages, str), messages
    assert "BAD" not in json.dumps(
        [message for message in messages if message["role"] == "assistant"]
    )
    assert messages[-1]["content"].startswith("GOOD") and "Why?" in [
        message["content"] for message in messages
    ]


JUDGED: dict[str, Callable[[bool], Any]] = {
    "label": bool,
    "is_correct": int,
    "verdict": lambda good: "good" if good else "bad",
    "kto_tag": str,
    "thumbs": lambda good: "up" if good else "down",
    "rejected": lambda good: not good,
    "reward": float,
}
ANSWERED: dict[str, Callable[[str], Row]] = {
    "completion": lambda text: {"prompt": "Why?", "completion": text},
    "output": lambda text: {"instruction": "Why?", "output": text},
    "answer": lambda text: {"question": "Why?", "answer": text},
    "messages": lambda text: {
        "messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": text}]
    },
    "conversations": lambda text: {
        "conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": text}]
    },
}


@pytest.mark.heavy
@hypothesis_settings(max_examples=400, deadline=None)
@given(
    st.data(),
    st.sampled_from(sorted(ANSWERED)),
    st.sampled_from(sorted(JUDGED)),
    st.lists(st.booleans(), min_size=2, max_size=6),
)
def test_no_answer_that_is_judged_bad_is_trained(
    data: st.DataObject, layout: str, column: str, verdicts: list[bool]
) -> None:
    verdicts = [True, False, *verdicts]
    rows = [
        {**ANSWERED[layout](data.draw(GOOD if good else BAD)), column: JUDGED[column](good)}
        for good in verdicts
    ]
    found = recognise(rows)
    for good, row in zip(verdicts, rows, strict=True):
        messages = settled(found, row)
        assert messages == "rejected" if not good else not isinstance(messages, str)


# The cases of the public, as they were tried

# rows that are trained, the reason of the others, and what their detail says
CASES: dict[str, tuple[int, str, str]] = {
    "03-kto-labels.jsonl": (12, "rejected", "`label` is false"),
    "13b-llava.jsonl": (0, "media", "`image` has a picture"),
    "13-images-parts.jsonl": (0, "media", "message 0 has a picture (`image_url`)"),
    "24e-choices.jsonl": (0, "alternatives", "`output` has 2 answers"),
    "24-lf-dpo.jsonl": (12, "", ""),
    "24b-lf-dpo-multi.jsonl": (12, "", ""),
    "12-anthropic.jsonl": (12, "", ""),
    "29-thinking-two-ways.jsonl": (12, "", ""),
    "33-system-column.jsonl": (0, "content", "message 1 has content that is not text but dict"),
}


@pytest.mark.parametrize("name", CASES)
def test_cases(name: str) -> None:
    number, reason, detail = CASES[name]
    rows = list(
        Reader(Mapping(), Policies(), SpecialTexts()).rows(
            str(Path(__file__).with_name("cases") / name)
        )
    )
    assert sum(row.messages is not None for row in rows) == number
    for row in rows:
        if row.messages is None:
            assert row.reasons[-1] == reason and detail in row.detail
        else:
            assert row.messages[-1]["role"] == "assistant" and "No idea" not in json.dumps(
                row.messages
            )
