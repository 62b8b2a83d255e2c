"""Formats told from rows, with the reason in words, and generated conversations that come back the
same from each of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jobs.luthier_error import LuthierError
from tests.trainer.data.dialogues import Dialogue, Row, convert, said, turns
from tests.trainer.data.layout_table import layouts
from trainer.data.formats import PARTS, Format, Mapping, recognise
from trainer.data.formats_text import spoken_turns
from trainer.data.formats_turns import PROBLEMS, Converted, RowProblem

# The same conversation as rows of the formats that can say all of it.
WRITERS: dict[str, Callable[[Dialogue], Row]] = {
    "messages": lambda chat: {"messages": chat},
    "messages as JSON": lambda chat: {"messages": json.dumps(chat)},
    "messages as Python": lambda chat: {"messages": str(chat)},
    "sharegpt": lambda chat: {
        "conversations": [
            {
                "from": {"user": "human", "assistant": "gpt"}.get(m["role"], "system"),
                "value": m["content"],
            }
            for m in chat
        ]
    },
    "sharegpt of other names": lambda chat: {
        "dialog": [
            {
                "from": {"user": "User", "assistant": "ChatGPT"}.get(m["role"], "System"),
                "text": m["content"],
            }
            for m in chat
        ]
    },
    "chosen messages": lambda chat: {"chosen": chat, "rejected": chat[:-1]},
    "prompt messages": lambda chat: {"prompt": chat[:-1], "completion": chat[-1:]},
}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
DIALOGUES = st.builds(
    lambda pairs, system: turns(*(text for pair in pairs for text in pair), system=system),
    st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=4),
    TEXT,
)


@pytest.mark.parametrize("writer", WRITERS)
@settings(max_examples=60, deadline=None)
@given(chat=DIALOGUES)
def test_a_conversation_comes_back(writer: str, chat: Dialogue) -> None:
    assert convert(WRITERS[writer](chat)) == Converted(chat)


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.tuples(TEXT, TEXT), min_size=2, max_size=4), system=TEXT)
def test_columns_come_back(texts: list[tuple[str, str]], system: str) -> None:
    *history, (asked, answered) = texts
    chat = turns(*(text for pair in texts for text in pair), system=system)
    alpaca = {
        "instruction": asked,
        "input": "",
        "output": answered,
        "history": [list(pair) for pair in history],
        "system": system,
    }
    assert convert(alpaca).messages == chat
    one = turns(asked, answered, system=system)
    assert (
        convert(
            {"question": asked, "response": answered, "system_prompt": system, "id": 1}
        ).messages
        == one
    )
    assert convert({"Prompt": asked, "Completion": answered, "System": system}).messages == one
    assert (
        convert({"prompt": asked, "chosen": answered, "rejected": "no", "system": system}).messages
        == one
    )


@settings(max_examples=60, deadline=None)
@given(chat=DIALOGUES)
def test_chatml_comes_back(chat: Dialogue) -> None:
    assume(not any("<|im_" in message["content"] for message in chat))
    text = "".join(
        f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n" for message in chat
    )
    assert convert({"id": "7", "text": text}).messages == chat


WORDS = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(WORDS, min_size=4, max_size=8),
    names=st.sampled_from([("Anna", "Bo"), ("USER", "ASSISTANT"), ("Dr. Lee", "Host")]),
)
def test_a_transcript_comes_back(texts: list[str], names: tuple[str, str]) -> None:
    lines = [f"[00:0{place}] {names[place % 2]}: {text}" for place, text in enumerate(texts)]
    assert convert({"episode": "\n".join(lines)}).messages == turns(*texts)
    items = [{"speaker": names[place % 2], "text": text} for place, text in enumerate(texts)]
    assert convert({"turns": items}).messages == turns(*texts)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXT
    | st.sampled_from(["user", "gpt", "Anna: x\nBo: y\nAnna: z", "[{", "[]", "{}", '{"name": 1}']),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "role",
                    "from",
                    "content",
                    "value",
                    "text",
                    "name",
                    "function",
                    "arguments",
                    "tool_calls",
                    "weight",
                    "speaker",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
COLUMNS = st.sampled_from(
    [
        "messages",
        "conversations",
        "chosen",
        "rejected",
        "prompt",
        "completion",
        "instruction",
        "input",
        "output",
        "history",
        "system",
        "tools",
        "question",
        "answer",
        "text",
        "",
        "Ä",
    ]
)


JUNK = (
    st.none()
    | st.booleans()
    | st.integers(0, 3)
    | TEXT
    | st.sampled_from([[], {}, [None], [[]], {"a": None}, [{}], "[]", "{}", ["a", 1]])
)


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a value something could stand instead."""
    items = dict(enumerate(value)) if isinstance(value, list) else value
    pairs: Any = items.items() if isinstance(items, dict) else ()
    return [path, *(inner for key, item in pairs for inner in paths_in(item, (*path, key)))]


def exports() -> list[Row]:
    """The rows of the layouts that are exports, chains and tables of messages."""
    found: list[Row] = []
    for layout in layouts().values():
        text = layout.rows.strip()
        try:
            values = (
                json.loads(text)
                if text.startswith("[")
                else [json.loads(line) for line in text.splitlines()]
            )
        except ValueError:
            continue
        found += [
            value for value in values if isinstance(value, dict) and not layout.format.columns
        ]
    return found


@pytest.mark.heavy
@settings(max_examples=1500, deadline=None)
@given(row=st.sampled_from(exports()), junk=JUNK, data=st.data())
def test_wounded_rows(row: Row, junk: Any, data: st.DataObject) -> None:
    """A broken export is a row's problem or refused by name, never an error of the program."""
    wounded: Any = {"row": json.loads(json.dumps(row))}
    *way, last = data.draw(st.sampled_from(paths_in(wounded)[2:]))
    place = wounded
    for key in way:
        place = place[key]
    place[last] = junk
    for rows in ([wounded["row"]], [row, wounded["row"]]):
        try:
            found = recognise(rows)
        except LuthierError as error:
            assert error.hint
            continue
        try:
            messages = found.convert(rows[-1]).messages
        except RowProblem as problem:
            assert problem.code in PROBLEMS and problem.detail
            continue
        assert messages
        assert all(
            isinstance(message["role"], str) and "content" in message for message in messages
        )


@pytest.mark.heavy
@settings(max_examples=500, deadline=None)
@given(
    rows=st.lists(st.dictionaries(COLUMNS, JSON, max_size=4), max_size=3),
    more=st.dictionaries(COLUMNS, JSON, max_size=4),
)
def test_hostile_rows(rows: list[Row], more: Row) -> None:
    """Any row becomes messages, each with a role and a content, or ends with a known code."""
    try:
        found = recognise(rows)
    except LuthierError as error:
        assert error.hint
        return
    assert found.reason
    for row in (*rows, more):
        try:
            converted = found.convert(row)
        except RowProblem as problem:
            assert problem.code in PROBLEMS
            assert problem.detail
            continue
        assert converted.messages
        assert all(
            isinstance(message["role"], str) and "content" in message
            for message in converted.messages
        )


REASONS: list[tuple[Row, str]] = [
    (
        {"messages": turns("a", "b")},
        "`messages` whose items have `role` and `content`: OpenAI messages",
    ),
    (
        {"conversations": [{"from": "human", "value": "a"}], "id": 1},
        "`conversations` whose items have `from` and `value`: ShareGPT",
    ),
    (
        {"instruction": "a", "input": "b", "output": "c"},
        "`instruction` and `output`: Alpaca, with `input`",
    ),
    (
        {"system": "s", "question": "a", "response": "b"},
        "`question` and `response`: question and answer, with `system`",
    ),
    ({"input": "a", "output": "b"}, "`input` and `output`: prompt and completion"),
    (
        {"text": "<|im_start|>user\na<|im_end|>"},
        "`text` with turns between <|im_start|> and <|im_end|>: ChatML as text",
    ),
    (
        {"chosen": "a", "rejected": "b"},
        "`chosen` and `rejected`: preference pairs, of which the chosen answer is trained",
    ),
    (
        {"t": "Anna: hi\nBo: ho\nAnna: he"},
        (
            '`t` with lines like "name: text": a transcript; the first speaker is taken as the'
            " user, the other as the assistant"
        ),
    ),
]


@pytest.mark.parametrize(("row", "words"), REASONS)
def test_reasons(row: Row, words: str) -> None:
    assert recognise([row]).reason == f"every row has {words}"


def test_most_rows_decide() -> None:
    rows: list[Row] = [{"instruction": "a", "output": "b", "id": 1}] * 3 + [
        {"messages": turns("a", "b")}
    ]
    found = recognise(rows)
    assert found.reason == "3 of 4 rows have `instruction` and `output`: Alpaca"
    assert found.unused == ("id", "messages")
    with pytest.raises(
        RowProblem, match=r"`instruction` is missing \(the row looks like OpenAI messages\)"
    ) as problem:
        found.convert(rows[-1])
    assert problem.value.code == "other_format"
    with pytest.raises(RowProblem, match="`output` is null"):
        found.convert({"instruction": "a", "output": None})


def test_alpaca_joins_its_input() -> None:
    assert convert(
        {"instruction": "Sum up.", "input": "Long.", "output": "Short."}
    ).messages == turns("Sum up.\n\nLong.", "Short.")
    with pytest.raises(RowProblem, match="not a question and answer pair"):
        convert({"instruction": "a", "output": "b", "history": [["x"]]})
    with pytest.raises(RowProblem, match="not a list of question and answer pairs"):
        convert({"instruction": "a", "output": "b", "history": 1})


def test_preferences() -> None:
    whole = turns("a", "b")
    assert convert({"prompt": "a", "chosen": whole, "rejected": turns("a", "c")}).messages == whole
    assert convert({"prompt": whole[:1], "chosen": whole[1:], "rejected": []}).messages == whole
    text = "\n\nHuman: a\nmore: of it\n\nAssistant: b\n\nHuman: c\n\nAssistant: d"
    assert convert({"chosen": text, "rejected": text}).messages == turns(
        "a\nmore: of it", "b", "c", "d"
    )


def test_speakers_are_learned() -> None:
    rows = [
        {
            "lines": [
                {"speaker": name, "text": text}
                for name, text in [
                    ("Captain", "ahoy"),
                    (guest, "hi"),
                    (guest, "there"),
                    ("Captain", "yo"),
                ]
            ]
        }
        for guest in ("Ann", "Bob", "Cid")
    ]
    found = recognise(rows)
    assert found.reason.endswith(
        "Captain speaks in 3 of 3 rows and is taken as the assistant, everyone else as the user"
    )
    converted = found.convert(rows[1])
    assert converted == Converted(
        turns("hi\nthere", "yo"), None, ("merged_speaker", "dropped_opening")
    )

    hosted = [{"t": f"Host: welcome {n}\nGuest: thanks\nHost: so?\nGuest: well"} for n in range(3)]
    assert recognise(hosted).convert(hosted[2]).messages == turns(
        "welcome 2", "thanks", "so?", "well"
    )

    crowd = {"t": "A: x\nB: y\nC: z\nA: x\nB: y\nC: z"}
    with pytest.raises(RowProblem, match="speakers are A, B, C") as problem:
        convert(crowd)
    assert problem.value.code == "many_speakers"
    chosen = Mapping("transcript", speakers={"b": "assistant", "others": "user"})
    assert [message["role"] for message in convert(crowd, chosen).messages] == [
        "user",
        "assistant",
        "user",
        "user",
        "assistant",
        "user",
    ]


def test_the_mapping_is_the_users() -> None:
    row = {"frage": "a", "antwort": "b", "text": "<|im_start|>user\nx<|im_end|>"}
    assert convert(
        row, Mapping("prompt_completion", {"prompt": "frage", "completion": "Antwort"})
    ).messages == turns("a", "b")
    assert convert(
        row, Mapping(columns={"question": "frage", "answer": "antwort"})
    ).messages == turns("a", "b")
    kirk = {"log": [{"who": "kirk", "says": "a"}, {"who": "spock", "says": "b"}]}
    mapping = Mapping(
        "messages",
        {"turns": "log", "role": "who", "content": "says"},
        {"kirk": "user", "spock": "assistant"},
    )
    assert convert(kirk, mapping).messages == turns("a", "b")
    with pytest.raises(LuthierError, match="No row looks like Alpaca"):
        recognise([row], Mapping("alpaca"))
    with pytest.raises(
        LuthierError, match=r"format\.columns\.promt has no part.*|Did you mean prompt"
    ):
        recognise([row], Mapping(columns={"promt": "frage"}))
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"format": "alpca"}, Mapping)


def test_what_is_no_conversation() -> None:
    with pytest.raises(
        LuthierError, match="Each row is one message, and no column says which belong together"
    ):
        recognise([said("user", "a"), said("assistant", "b")])
    with pytest.raises(LuthierError, match="The rows have the columns `url`, `title`"):
        recognise([{"url": "x", "title": "y"}])
    with pytest.raises(LuthierError, match="no row"):
        recognise([])
    for text, code in {
        "x<|im_start|>user\na<|im_end|>": "outside_turns",
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb": "unclosed_turn",
        "<|im_start|>user<|im_end|>": "not_a_message",
        "nothing <|im_end|>": "outside_turns",
    }.items():
        with pytest.raises(RowProblem) as problem:
            Format("chatml_text", "", Mapping("chatml_text", {"text": "text"})).convert(
                {"text": text}
            )
        assert problem.value.code == code


def test_it_is_light() -> None:
    heavy = "{'torch', 'transformers', 'datasets', 'numpy', 'pyarrow'}"
    code = f"import sys, trainer.data.formats; sys.exit(bool({heavy} & set(sys.modules)))"
    assert (
        subprocess.run(
            [sys.executable, "-P", "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, check=False
        ).returncode
        == 0
    )


def test_the_guides_examples() -> None:
    """Each row in docs/data.md is in the format that the heading above it names."""
    guide = (
        (Path(__file__).parents[3] / "docs/data.md")
        .read_text(encoding="utf-8")
        .partition("## Formats")[2]
        .partition("### When")[0]
    )
    named = re.findall(r"### [^\n]+ \(`(\w+)`\)\n.*?```json\n(.*?)```", guide, re.DOTALL)
    assert sorted(name for name, _ in named) == sorted(PARTS)
    for name, rows in named:
        for line in rows.splitlines():
            row = json.loads(line)
            found = recognise([row])
            assert found.name == name
            assert found.convert(row).messages[-1]["role"] == "assistant"


@pytest.mark.parametrize(
    ("text", "speakers"),
    [
        (
            "ANNA: Hi.\nJOE: Hello.\nANNA: And she?\nEVE: I am Eve.\n  Really.\nJOE: Well.",
            "ANNA JOE EVE",
        ),
        ("Anna: Hi.\nJoe: Hello.\nAnna: And she?\nEve: I am Eve.\nJoe: Well.", "Anna Joe Eve"),
        ("Anna: Hi.\nJoe: Hello.\nAnna: I say\nthis: no.\nAnna: Well.\nJoe: Yes.", "Anna Joe"),
        ("ANNA: Hi.\nJOE: Hello.\nANNA: I say\nthis: no.\nJOE: Yes.", "ANNA JOE"),
        ("User: Hi.\nAssistant: Hello.\nNote: odd.\nUser: Bye.\nAssistant: Bye.", "User Assistant"),
    ],
)
def test_who_speaks_once_is_heard_in_a_talk_of_names(text: str, speakers: str) -> None:
    assert list(dict.fromkeys(name for name, _ in spoken_turns(text))) == speakers.split()
