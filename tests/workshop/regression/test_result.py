"""What a result means: exact tests, intervals, Holm's correction, bounds."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.luthier_error import LuthierError
from workshop.regression import result as results
from workshop.regression.report import FLIPS_FILE, report_of, write_report
from workshop.regression.result import Item, PassageLoss, Reply, Result
from workshop.regression.statistics import (
    exact_test,
    holm,
    mean_interval,
    share_interval,
    t_quantile,
)


def item(family: str, base: bool, tuned: bool, number: int = 0, error: str = "") -> Item:
    replies = Reply("b", base), Reply("t", tuned, error)
    return Item(f"{family}-{number}", family, "What?", "contains 5", *replies)


def items(family: str, lost: int, won: int, unchanged: int = 0) -> list[Item]:
    pairs = [(True, False)] * lost + [(False, True)] * won + [(True, True)] * unchanged
    return [item(family, *pair, number) for number, pair in enumerate(pairs)]


def result(
    *groups: list[Item], points: dict[str, float] | None = None, losses: list[float] | None = None
) -> Result:
    passages = [
        PassageLoss(f"t{n}", "text", 9, 3.0, 3.0 + loss) for n, loss in enumerate(losses or [])
    ]
    return Result(
        "r", "base", "mine", [each for group in groups for each in group], passages, points or {}
    )


def verdicts(result: Result) -> dict[str, str]:
    return {check.name: check.verdict for check in results.checks(results.figures(result))}


@pytest.mark.heavy
@pytest.mark.xdist_group("scipy")
@given(lost=st.integers(0, 60), won=st.integers(0, 60))
def test_the_exact_test_is_the_binomial_one(lost: int, won: int) -> None:
    from scipy import stats

    expected = stats.binomtest(lost, lost + won, 0.5).pvalue if lost + won else 1.0
    assert exact_test(lost, won) == pytest.approx(expected)
    assert exact_test(lost, won) == exact_test(won, lost)


@pytest.mark.heavy
@pytest.mark.xdist_group("scipy")
def test_the_t_quantile_and_the_interval_are_students() -> None:
    from scipy import stats

    for freedom in (5, 11, 30, 200):
        assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=2e-3)
    values = [0.1, 0.3, 0.2, 0.5, 0.1, 0.4]
    expected = stats.t.interval(0.95, 5, stats.tmean(values), stats.sem(values))
    assert mean_interval(values) == pytest.approx(expected, rel=5e-3)


@given(lost=st.integers(0, 20), won=st.integers(0, 20), unchanged=st.integers(1, 30))
def test_the_interval_of_a_share_leans_to_where_the_difference_is(
    lost: int, won: int, unchanged: int
) -> None:
    low, high = share_interval(lost, won, lost + won + unchanged)
    assert -1 <= low < high <= 1
    assert (low + high >= 0) == (won >= lost)


def test_holm_is_statsmodels_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_red_needs_a_loss_beyond_the_bound_and_a_significant_test() -> None:
    clear, few = items("format", 15, 0, 5), items("facts", 3, 0, 15)
    assert verdicts(result(clear, few)) == {"format": "red", "facts": "amber", "all probes": "red"}
    allowed = result(clear, few, points={"format": 80, "facts": 20, "all": 60})
    assert set(verdicts(allowed).values()) == {"green"}
    strict = result(items("facts", 1, 0, 99), points={"facts": 0})
    assert verdicts(strict) == {"facts": "amber"}
    assert verdicts(result(items("facts", 0, 15))) == {"facts": "green"}


def test_the_loss_on_text_has_a_bound_too() -> None:
    assert verdicts(result(losses=[0.5] * 12)) == {"loss on plain text": "red"}
    assert verdicts(result(losses=[0.2] * 12)) == {"loss on plain text": "green"}
    assert verdicts(result(losses=[1.0, 1.0, -0.1])) == {"loss on plain text": "amber"}


def test_healthy_runs_do_not_go_red_by_chance() -> None:
    """Runs whose items flip in both directions alike, with no loss allowed at all: Holm's method
    keeps the share of red results below 5 %."""
    draw = random.Random(1)
    red = 0
    for _ in range(400):
        groups = []
        for family in range(7):
            lost = sum(draw.random() < 0.5 for _ in range(12))
            groups.append(items(f"f{family}", lost, 12 - lost, 10))
        names = [*(f"f{family}" for family in range(7)), "all"]
        red += "red" in verdicts(result(*groups, points=dict.fromkeys(names, 0.0))).values()
    assert red / 400 < 0.05


def test_another_run_in_the_bases_place_is_named() -> None:
    against = msgspec.structs.replace(
        result(items("facts", 15, 0, 5), losses=[0.5] * 12), base="captain"
    )
    numbers = results.figures(against)
    sentences = [check.sentence for check in results.checks(numbers)]
    assert all("with captain" in sentence for sentence in sentences)
    _, table, note = report_of(against).tables[0]
    assert table[0][2] == "other" and "other (captain)" in note
    assert report_of(against).tables[1][1][0][1] == "other"


def test_what_has_no_answer_does_not_count_and_is_said() -> None:
    broken = [item("facts", True, False, 7, error="The server is gone")]
    answered = result(items("facts", 0, 0, 4), broken)
    assert verdicts(answered) == {"facts": "green", "unanswered": "amber"}
    assert answered.flips == []
    assert results.figures(answered).lines[0].items == 4


def test_a_summary_names_the_worst() -> None:
    numbers = results.figures(result(items("format", 15, 0, 5), items("facts", 1, 1, 15)))
    assert results.summary(numbers) == (
        "16 lost and 1 won of 37 items; beyond the bound, in points: format −75."
    )
    (fault, *_) = [check for check in results.checks(numbers) if check.verdict == "red"]
    assert fault.sentence.startswith(
        "Format: 5 of 20 items pass, 20 with the base (15 lost, 0 won)"
    )
    assert "Chance hardly explains it (p < 0.001, corrected for 3 tests)" in fault.sentence


def test_a_result_is_read_back_and_its_flips_are_prompts(tmp_path: Path) -> None:
    written = result(items("facts", 2, 1, 3), losses=[0.1, 0.2])
    results.write(tmp_path, written)
    assert results.read(tmp_path) == written
    write_report(tmp_path, written)
    assert len((tmp_path / FLIPS_FILE).read_text().splitlines()) == 3
    report = report_of(written)
    assert [question.history.split(":")[0] for question in report.questions] == [
        "lost",
        "lost",
        "won",
    ]
    (tmp_path / results.RESULT_FILE).write_text('{"run": 3}')
    with pytest.raises(LuthierError, match="damaged"):
        results.read(tmp_path)
    assert results.read(tmp_path / "nowhere") is None


def test_a_bound_of_probes_that_there_are_not_is_refused() -> None:
    results.check_bounds({"facts": 1, "all": 2}, ["facts"])
    with pytest.raises(LuthierError, match="fact,"):
        results.check_bounds({"fact": 1}, ["facts"])
