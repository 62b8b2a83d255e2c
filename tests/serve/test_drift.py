"""Where a model drifted: how far two readings are apart, the map, and the verdict."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from jobs.luthier_error import LuthierError
from serve.drift import judging, spill_map
from serve.drift.prompts import HELDOUT, Prompt, of_file, own_prompts
from serve.drift.reading import Position, divergence
from serve.drift.spill_map import Spill, spills, topics


def position(text: str, **shares: float) -> Position:
    """A token with the probabilities of the likeliest ones."""
    top = {token: math.log(share) for token, share in shares.items()}
    return Position(text, top[text.strip()], top)


def test_the_divergence_is_that_of_the_distributions() -> None:
    here = [position("a", a=0.5, b=0.5)]
    there = [position("a", a=0.25, b=0.75)]
    expected = 0.5 * math.log(2) + 0.5 * math.log(0.5 / 0.75)
    assert divergence(here, there) == pytest.approx(expected, abs=1e-6)
    assert divergence(here, here) == 0.0
    assert divergence([], []) == 0.0


def test_what_only_one_of_them_lists_counts_as_the_others_together() -> None:
    """It is then an estimate from below, never negative and never infinite."""
    here, there = [position("a", a=0.9, b=0.05)], [position("a", a=0.9, c=0.05)]
    assert divergence(here, there) == pytest.approx(0.0, abs=1e-9)
    assert 0 < divergence([position("a", a=1.0)], [position("a", a=0.001)]) < 10


def test_the_map_is_sorted_and_its_pieces_are_the_answer() -> None:
    prompts = [
        Prompt("code", ({"role": "user", "content": "x?"},)),
        Prompt(HELDOUT, ()),
        Prompt("code", ()),
    ]
    near = [position("a", a=0.5, b=0.5)]
    far = [position("a", a=0.1, b=0.9)]
    all_spills = spills(prompts, [near, near, []], [near, far, []], [near, near, []])
    assert [spill.topic for spill in all_spills] == [HELDOUT, "code"]  # the third has no answer
    ((text, shift),) = all_spills[0].pieces
    assert text == "a" and shift == pytest.approx(math.log(0.2), abs=1e-3)
    assert all_spills[0].of_chance == pytest.approx(divergence(far, near))
    assert [topic.name for topic in topics(all_spills)] == ["code"]


def moved(outside: float, heldout: float, chance: float | None = None) -> list[Spill]:
    return [
        Spill("code", "x?", outside, [], chance),
        Spill("facts", "y?", outside / 2, [], chance),
        Spill(HELDOUT, "z?", heldout, [], chance),
    ]


@pytest.mark.parametrize(
    ("outside", "verdict"), [(0.2, "green"), (0.6, "green"), (1.0, "amber"), (2.0, "red")]
)
def test_the_verdict_is_by_what_it_was_meant_to_change(outside: float, verdict: str) -> None:
    first, *by_topic = judging.checks(moved(outside, 0.5))
    assert first.verdict == verdict and first.figure == pytest.approx(0.75 * outside / 0.5)
    assert [check.name for check in by_topic] == ["drift, code", "drift, facts"]
    assert "most in code and facts" in judging.summary(moved(outside, 0.5))


@pytest.mark.parametrize(
    ("share", "error"),
    [(1.021, 0.101), (0.922, 0.151), (0.821, 0.119), (0.793, 0.079), (0.601, 0.101)],
)
def test_no_measured_run_comes_near_the_bound(share: float, error: float) -> None:
    """docs/recites.md has the runs."""
    assert share + 3 * error < judging.GREEN < judging.RED / 1.5


def test_without_held_out_prompts_nothing_is_claimed() -> None:
    first, *_ = judging.checks(moved(0.5, 0.0))
    assert (first.verdict, first.figure) == ("amber", None)
    assert "held-out" not in judging.summary(moved(0.5, 0.0)[:2])


def test_another_seed_explains_the_topics_within_its_distance() -> None:
    checks = {check.name: check for check in judging.checks(moved(0.4, 0.5, chance=0.3))}
    of_seed = checks["drift by another seed"]
    assert of_seed.figure == pytest.approx(1.0)
    assert "Another seed explains all of facts." in of_seed.sentence


def test_the_prompts_are_of_many_topics_and_all_differ(tmp_path: Path) -> None:
    prompts = own_prompts()
    assert len(prompts) >= 40 and len({prompt.topic for prompt in prompts}) >= 10
    assert len({prompt.text for prompt in prompts}) == len(prompts)
    (tmp_path / "mine.txt").write_text("How deep is the sea?\nWho sails?\n")
    assert [prompt.text for prompt in of_file(tmp_path / "mine.txt")][1] == "Who sails?"
    with pytest.raises(LuthierError):
        of_file(tmp_path / "none.txt")


def test_the_map_survives_its_file_and_damage_is_named(tmp_path: Path) -> None:
    spill_map.write(tmp_path, moved(0.4, 0.5))
    assert spill_map.read(tmp_path) == moved(0.4, 0.5)
    (tmp_path / spill_map.MAP_FILE).write_text("[{")
    with pytest.raises(LuthierError, match="cannot be read"):
        spill_map.read(tmp_path)
    with pytest.raises(LuthierError, match="not there"):
        spill_map.read(tmp_path / "none")
