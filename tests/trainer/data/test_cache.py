"""The cache, with a real tokenizer and template: the second preparation is the first one's; what
decides samples makes a new one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from jobs.luthier_error import LuthierError
from models.stored_sample import UNTRAINED
from tests.models.corpus import tokenizer_for
from tests.models.test_preflight import CHATML, report
from tests.trainer.data.stub import settings, talk, write
from trainer.data import cache
from trainer.data.pipeline import Cancelled, Prepared, Refused, prepare
from trainer.data.policies import Policies
from trainer.data.settings import DataSettings, Mask
from trainer.data.split import Heldout

pytestmark = pytest.mark.heavy

FILES = {"train.jsonl", "heldout.jsonl", "ledger.jsonl", "summary.json"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(
        tmp_path / "data.jsonl",
        [talk(f"question {number}", f"answer {number}") for number in range(40)],
    )


def made(wanted: DataSettings, folder: Path, template: str = CHATML) -> Prepared:
    return prepare(wanted, tokenizer_for("chatml", template=template), report(template), folder)


def contents(prepared: Prepared) -> list[bytes]:
    return [path.read_bytes() for path in (prepared.train, prepared.heldout, prepared.ledger)]


def test_the_second_preparation_is_the_first_ones(data: Path, tmp_path: Path) -> None:
    wanted = settings(data, heldout=Heldout(at_least=4))
    first, second, third = (
        made(wanted, tmp_path / "a"),
        made(wanted, tmp_path / "b"),
        made(wanted, tmp_path / "b"),
    )
    assert (first.cached, second.cached, third.cached) == (False, True, True)
    assert contents(first) == contents(second) == contents(third)
    assert first.summary == second.summary
    assert {path.name for path in (tmp_path / "b").iterdir()} == FILES
    assert (first.summary["train"], first.summary["heldout"]) == (36, 4)
    assert not [path for path in cache.cache_directory().iterdir() if path.name.startswith(".")]


def test_what_decides_the_samples_makes_new_ones(data: Path, tmp_path: Path) -> None:
    made(settings(data), tmp_path / "a")
    others = [
        settings(data, seed=7),
        settings(data, max_length=100),
        settings(data, policy=Policies(user_last="drop")),
        settings(data, mask=Mask("last")),
        settings(data, heldout=Heldout(at_least=1)),
    ]
    assert [made(other, tmp_path / "b").cached for other in others] == [False] * len(others)
    assert not made(settings(data), tmp_path / "b", CHATML.replace("\n", "\n\n", 1)).cached
    data.write_text(data.read_text().replace("answer 7", "answer x"))
    assert not made(settings(data), tmp_path / "b").cached
    os.utime(data, (1, 1))
    assert made(settings(data), tmp_path / "b").cached


def test_the_real_mask_trains_the_answers_and_nothing_else(data: Path, tmp_path: Path) -> None:
    prepared = made(settings(data), tmp_path / "a")
    tokenizer = tokenizer_for("chatml", template=CHATML)
    for line in map(json.loads, prepared.train.read_text().splitlines()):
        trained = [label for label in line["labels"] if label != UNTRAINED]
        assert tokenizer.decode(trained) == f"{line['messages'][1]['content']}<|im_end|>"


def test_an_error_or_a_cancelled_preparation_leaves_nothing(data: Path, tmp_path: Path) -> None:
    data.write_text("[1, 2")
    with pytest.raises(LuthierError, match="No row can be read"):
        made(settings(data), tmp_path / "refused")
    data.write_bytes(b"PK\3\4")
    with pytest.raises(LuthierError, match="zip"):
        made(settings(data), tmp_path / "a")
    write(data, [talk("a", "b")])
    with pytest.raises(Cancelled):
        prepare(
            settings(data),
            tokenizer_for("chatml", template=CHATML),
            report(CHATML),
            tmp_path / "a",
            cancelled=lambda: True,
        )
    assert len(list(cache.cache_directory().iterdir())) == 1  # the refused one, below
    assert not (tmp_path / "a").exists()


def test_what_is_refused_has_a_ledger_and_is_refused_from_the_cache_too(
    data: Path, tmp_path: Path
) -> None:
    write(data, [talk("only a question"), talk("another")])
    for folder, cached in (("a", False), ("b", True)):
        with pytest.raises(Refused, match=r"Nothing to train on.*drops all 2 rows") as caught:
            made(settings(data), tmp_path / folder)
        assert caught.value.prepared.cached == cached
        assert len(caught.value.prepared.ledger.read_text().splitlines()) == 2


def test_a_file_that_is_written_to_meanwhile_is_told_and_not_kept(
    data: Path, tmp_path: Path
) -> None:
    def append(what: str, done: int, total: int) -> None:
        if what == "rendering and masking":
            write(data, [talk("new", "row")])

    with pytest.raises(LuthierError, match="changed in the meantime"):
        prepare(
            settings(data),
            tokenizer_for("chatml", template=CHATML),
            report(CHATML),
            tmp_path / "a",
            append,
        )
    assert not list(cache.cache_directory().iterdir())


def test_hashing_tells_how_far_it_is_and_can_be_cancelled(data: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    cache.key(
        [str(data)], settings(data), [], lambda read: told.append((read, data.stat().st_size))
    )
    assert told and told[-1][0] == told[-1][1]
    with pytest.raises(Cancelled):
        prepare(
            settings(data),
            tokenizer_for("chatml", template=CHATML),
            report(CHATML),
            tmp_path / "a",
            cancelled=lambda: True,
        )


def test_old_preparations_go(data: Path, tmp_path: Path) -> None:
    for seed in range(15):
        made(settings(data, seed=seed), tmp_path / "a")
    assert len(list(cache.cache_directory().iterdir())) <= 12
    assert made(settings(data, seed=14), tmp_path / "a").cached
    assert not made(settings(data, seed=0), tmp_path / "a").cached


def test_a_hub_data_set_has_no_key_and_a_missing_file_is_told(tmp_path: Path) -> None:
    assert cache.key(["hub:owner/name"], settings(), [], lambda read: None) is None
    with pytest.raises(LuthierError, match="does not exist"):
        cache.key([str(tmp_path / "nix.jsonl")], settings(), [], lambda read: None)
