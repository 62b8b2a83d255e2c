"""What a model recites: which answers are asked for, how far they come back, and the verdict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.luthier_error import LuthierError
from models.run_folder import RunFolder
from models.stored_sample import StoredSample
from serve.recites import canaries, judging
from serve.recites.asking import common_beginning
from serve.recites.judging import Recital
from serve.recites.passages import LONGEST, OPENING, Passage, choose, passages_of


def sample(row: int, *lengths: int) -> StoredSample:
    """A conversation of answers of these lengths, each after a prompt of three tokens."""
    ids: list[int] = []
    labels: list[int] = []
    for length in lengths:
        answer = list(range(100 * row + len(ids), 100 * row + len(ids) + length))
        ids += [1, 2, 3, *answer]
        labels += [-100] * 3 + answer
    return StoredSample({"file": "a/train.jsonl", "row": row}, [1, 3][: len(lengths)], ids, labels)


def test_a_passage_is_the_prompt_and_the_answers_first_tokens() -> None:
    short, long = passages_of(sample(7, 30, 100), trained=True)
    assert len(short.beginning) == 3 + OPENING and len(short.expected) == 30 - OPENING
    assert len(long.beginning) == 33 + 3 + OPENING and len(long.expected) == LONGEST
    assert (short.row, short.turn, long.turn) == (7, 1, 3)
    assert (*short.beginning, *short.expected) == tuple(sample(7, 30, 100).input_ids[:33])


def write(folder: RunFolder, samples: list[StoredSample], heldout: list[StoredSample]) -> None:
    folder.data.mkdir()
    for path, rows in ((folder.train_samples, samples), (folder.heldout_samples, heldout)):
        lines = [
            {name: getattr(row, name) for name in ("source", "turns", "input_ids", "labels")}
            for row in rows
        ]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_what_is_too_short_is_left_out_and_the_draw_is_the_same_each_time(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    write(folder, [sample(row, 40, 12) for row in range(9)], [sample(90, 40)])
    trained, heldout = choose(folder, 4, 10, None)
    assert (len(trained.chosen_passages), trained.long_enough, trained.too_short) == (4, 9, 9)
    assert trained == choose(folder, 4, 10, None)[0]
    assert [passage.trained for passage in heldout.chosen_passages] == [False]
    assert choose(folder, 4, 10, 30)[0].chosen_passages == []  # the model's context is shorter


@pytest.mark.parametrize(
    ("tokens", "expected", "length"),
    [([1, 2, 3], [1, 2, 3], 3), ([1, 9, 3], [1, 2, 3], 1), ([1, 2], [1, 2, 3], 2), ([], [1], 0)],
)
def test_common_beginning(tokens: list[int], expected: list[int], length: int) -> None:
    assert common_beginning(tokens, expected) == length


def recitals(count: int, by_tuned: int = 0, by_base: int = 0, *, trained: bool) -> list[Recital]:
    """The first ones are completed."""
    passages = [Passage("d/train.jsonl", row, 1, (1,), (1,) * 20, trained) for row in range(count)]
    return [
        Recital(passage, 20 if row < by_base else 0, 20 if row < by_tuned else 1)
        for row, passage in enumerate(passages)
    ]


@pytest.mark.parametrize(
    ("trained", "heldout", "verdict"),
    [
        ((100, 0, 0), (16, 0, 0), "green"),
        ((100, 1, 0), (16, 0, 0), "amber"),
        ((100, 2, 0), (16, 0, 0), "red"),
        ((100, 30, 30), (16, 0, 0), "green"),  # the base knows them, too
        ((100, 12, 0), (16, 2, 0), "green"),  # answers that come without training on them
        ((100, 14, 0), (16, 2, 0), "red"),
        ((100, 1, 0), (0, 0, 0), "amber"),
    ],
)
def test_the_verdict_is_by_what_only_training_explains(
    trained: tuple[int, int, int], heldout: tuple[int, int, int], verdict: str
) -> None:
    first, *_ = judging.checks(recitals(*trained, trained=True), recitals(*heldout, trained=False))
    assert first.verdict == verdict


def test_the_sentences_name_rows_and_never_texts() -> None:
    of_train = recitals(100, 8, 1, trained=True)
    first, control, compared = judging.checks(of_train, recitals(16, trained=False))
    assert first.sentence == (
        "7 of 100 training answers come back word for word, and do not from the base. It recites"
        " rows 1, 2, 3, 4, 5 and 2 more of train.jsonl."
    )
    assert "None of 16 held-out answers comes back" in control.sentence
    assert compared.verdict == "green"
    assert judging.checks(recitals(5, trained=True), [])[2].verdict == "amber"
    figures = judging.figures(of_train, [])
    assert [row["row"] for row in figures["recited"]] == [1, 2, 3, 4, 5, 6, 7]
    assert set(figures["recited"][0]) == {"file", "row", "turn", "tokens"}


def test_nothing_recited_says_how_much_could_have_been_missed() -> None:
    assert "at most 3 % of all do" in judging.summary(recitals(100, trained=True))


def test_alternatives_of_a_canary_have_its_form() -> None:
    alternatives = canaries.alternatives("The code is A7-351 and ok.")
    assert alternatives == canaries.alternatives("The code is A7-351 and ok.")
    assert len({*alternatives}) > canaries.ALTERNATIVES / 2
    for other in alternatives:
        assert other.startswith("The code is ") and other.endswith(" and ok.")
        assert other[12].isupper() and other[13].isdigit() and other[14] == "-"


def test_a_canary_that_stands_out_is_red_unless_the_base_likes_it_as_much() -> None:
    usual = [-20.0 + step / 10 for step in range(canaries.ALTERNATIVES)]
    assert canaries.exposure([-18.5, *usual]) < 2
    assert canaries.exposure([-2.0, *usual]) > canaries.RED_BITS
    exposed = canaries.Exposure("The code is 7351", 0.4, 30.0)
    assert canaries.check(exposed).verdict == "red"
    assert canaries.check(canaries.Exposure("x 7351", 30.0, 30.0)).verdict == "green"
    assert canaries.check(canaries.Exposure("x 7351", 0.4, 8.0)).verdict == "amber"


@pytest.mark.parametrize("text", ["", "\n \n", "no digits here\n", "just 12\n"])
def test_canaries_that_measure_nothing_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "planted.txt"
    path.write_text(text)
    with pytest.raises(LuthierError):
        canaries.read_canaries(path)


def test_canaries_are_found_where_training_has_them(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.data.mkdir()
    line = {
        "source": {"file": "t", "row": 0},
        "turns": [1],
        "input_ids": [5, 6, 7, 8],
        "labels": [-100, -100, 7, 8],
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Aye. The code is 7351-0924."},
        ],
    }
    folder.train_samples.write_text(json.dumps(line) + "\n")
    path = tmp_path / "planted.txt"
    path.write_text("The code is 7351-0924\n")
    (canary,) = canaries.located(path, folder)
    assert (canary.prompt, canary.before) == ((5, 6), "Aye. ")
    path.write_text("The code is 9999-0924\n")
    with pytest.raises(LuthierError, match="not in the data"):
        canaries.located(path, folder)
