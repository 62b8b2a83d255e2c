"""Tokens as text: exact, marked without colours, and harmless to a terminal."""

from __future__ import annotations

from rich.cells import cell_len

from models.stored_sample import StoredSample
from tests.tui.data_folders import Words, sample
from trainer.data.inspection import Vocabulary
from tui.data.token_text import Token, lines_of, plain_tokens, runs_of, sign_and_word, tokens_of
from tui.shared.foreign_text import spelled_out


def made(row: int = 0, turns: int = 2, weight: float = 1.0) -> list[Token]:
    words = Words()
    record = sample(words, row, turns, weight)
    known = words.vocabulary()
    parts = {int(number): raw for number, raw in known["parts"].items()}
    stored = StoredSample(
        record["source"],
        record["turns"],
        record["input_ids"],
        record["labels"],
        record.get("weights"),
    )
    return tokens_of(stored, Vocabulary(known["stop_ids"], known["pieces"], parts))


def marked(tokens: list[Token]) -> str:
    return "".join(text for runs in runs_of(tokens) for text, _ in runs)


def test_what_is_trained_stands_between_signs() -> None:
    text = marked(made(row=3, turns=1))
    assert text.endswith("<|im_start|>assistant\n▸Yo ho ho! Fair winds!<|im_end|>■\n")
    assert text.count("▸") == text.count("■") == 1


def test_a_weight_stands_at_its_beginning_and_each_turn_has_its_own() -> None:
    text = marked(made(row=3, turns=2, weight=0.5))
    assert "▸x0.5 Yo ho ho" in text and "▸Aye, that was" in text


def test_a_turn_without_its_stop_token_is_closed_otherwise() -> None:
    vocabulary = Vocabulary([1], ["a", "<end>", "b"])
    tokens = tokens_of(StoredSample({}, [1], [0, 2, 0, 2], [-100, 2, -100, 2]), vocabulary)
    assert marked(tokens) == "a▸b◂a▸b◂"


def test_a_character_of_several_tokens_appears_once_and_its_parts_as_bytes() -> None:
    tokens = made(row=2, turns=1)
    parts = [token for token in tokens if b"\xf0\x9f" in token.raw or b"\x8c\x8a" in token.raw]
    assert [token.text for token in parts] == ["", "🌊"]
    assert [token.shown for token in parts] == ["<f0 9f>", "<8c 8a>"]
    assert "from? 🌊<|im_end|>" in marked(tokens)


def test_broken_bytes_do_not_break_the_rest() -> None:
    tokens = tokens_of(
        StoredSample({}, [], [0, 1], [-100, -100]), Vocabulary([], ["", "x"], {0: "f09f"})
    )
    assert "".join(token.text for token in tokens) == "\ufffdx"


def test_a_token_that_the_vocabulary_lacks_is_shown_by_its_number() -> None:
    tokens = tokens_of(StoredSample({}, [], [7], [-100]), Vocabulary([], ["a"]))
    assert tokens[0].text == "<7>"


def test_lines_are_no_longer_than_they_may_be_and_lose_nothing() -> None:
    tokens = made(row=1, turns=4, weight=0.25)
    for width in (8, 13, 40, 77, 200):
        lines = lines_of(tokens, width)
        assert all(cell_len("".join(text for text, _ in line)) <= width for line in lines)
        said = "".join(text for line in lines for text, kind in line if kind != "mark").replace(
            "↵", "\n"
        )
        assert said == "".join(token.text for token in tokens)


def test_lines_break_between_words() -> None:
    lines = [
        "".join(text for text, _ in line)
        for line in lines_of(plain_tokens("the quick brown fox jumps"), 11)
    ]
    assert lines == ["the quick", " brown fox", " jumps"]


def test_nothing_that_moves_a_cursor_or_turns_text_around_is_drawn() -> None:
    assert spelled_out("a\x1b[2Jb\u202ec\td\u200de\r\n") == "a␛[2Jb<U+202E>c⇥d\u200de␍↵"
    assert spelled_out("مرحبا") == "مرحبا"


def test_each_class_has_a_sign_and_a_word() -> None:
    assert [sign_and_word(kind) for kind in ("untrained", "trained", "stop")] == [
        "  no",
        "▸ yes",
        "■ stop",
    ]
