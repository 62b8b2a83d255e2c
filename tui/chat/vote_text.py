"""What the votes say, as text: the same in the app's panel and on the command line."""

from __future__ import annotations

from jobs.counting import counted
from serve.votes.report import LengthEffect, Rating, Report
from serve.votes.statistics import Duel, fewest_votes

_BAR = 28


def percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def summary(report: Report) -> list[str]:
    """What was counted."""
    if not report.duels:
        not_blind = (
            f" Not counted, because the names were visible: {counted(report.named_votes, 'vote')}."
            if report.named_votes
            else ""
        )
        return [
            f"No blind votes yet.{not_blind}",
            f"Nothing is decided before at least {fewest_votes()} votes agree.",
        ]
    not_blind = f", {report.named_votes} with visible names" if report.named_votes else ""
    not_counted = " (not counted)" if not_blind and not report.every else ""
    return [f"{report.blind} blind vote{'s' if report.blind != 1 else ''}{not_blind}{not_counted}"]


def duel_lines(duel: Duel, length: LengthEffect) -> list[str]:
    """Two models: who is ahead, how sure that is, and what the length has to do with it."""
    votes = (
        f"{duel.wins} : {duel.losses}, {duel.ties} tie{'s' if duel.ties != 1 else ''}, {duel.bad}"
        " both bad"
    )
    lines = [f"{duel.model} against {duel.other}    {votes}"]
    if duel.win_rate is None:
        return [*lines, "  nobody was ever better"]
    low, high = duel.at_any_time.interval
    win_rate = (
        f"{percent(duel.win_rate)} of the decided votes (95 % at any time: {percent(low)} to"
        f" {percent(high)})"
    )
    lines.append(f"  {_bar(duel.win_rate, duel.at_any_time.interval)}  wins {win_rate}")
    lines.append(f"  {_verdict(duel)}")
    lines += [f"  {line}" for line in _length_lines(duel, length)]
    return lines


def _verdict(duel: Duel) -> str:
    now = duel.at_any_time
    p_value = f"p = {now.p_value:.3f}" if now.p_value >= 0.001 else "p < 0.001"
    if now.decided:
        return f"decided: {duel.model} is better ({p_value})"
    if now.more_votes is None:
        return f"undecided ({p_value}); votes that fall like these would not decide it soon"
    votes = f"{now.more_votes} more vote{'s' if now.more_votes != 1 else ''}"
    return f"undecided ({p_value}); {votes} would decide it, if they fall like these"


def _length_lines(duel: Duel, length: LengthEffect) -> list[str]:
    unequal = duel.longer_won + duel.shorter_won
    ratio = duel.mean_length / duel.mean_other_length if duel.mean_other_length else 0.0
    who = (
        f"the longer answer won {duel.longer_won} of {unequal}"
        if unequal
        else "the two were equally long"
    )
    lines = [
        f"length: {duel.mean_length:.0f} against {duel.mean_other_length:.0f} characters on average"
        f" ({ratio:.2f} times); {who}"
    ]
    if length.problem:
        return [
            *lines,
            f"at equal length: {length.problem[0].lower()}{length.problem[1:].rstrip('.')}",
        ]
    low, high = length.interval
    p_value = f"p = {length.length_p_value:.3f}" if length.length_p_value >= 0.001 else "p < 0.001"
    lines.append(
        f"at equal length: wins {percent(length.win_rate)} (95 %: {percent(low)} to"
        f" {percent(high)}); effect of length {p_value}"
    )
    return lines


def next_line(report: Report) -> str:
    """Which two models to vote on next; "" where there is no choice."""
    if report.next_pair is None:
        return ""
    first, second = report.next_pair
    return f"next: {first} against {second}, which is decided soonest"


def _bar(rate: float, interval: tuple[float, float]) -> str:
    """The interval on a line from 0 to 100 %, with the middle and the rate."""
    cells = ["·"] * (_BAR + 1)
    low, high = (round(value * _BAR) for value in interval)
    for cell in range(low, high + 1):
        cells[cell] = "─"
    cells[_BAR // 2] = "┼" if low <= _BAR // 2 <= high else "┊"
    cells[round(rate * _BAR)] = "●"
    return "".join(cells)


def rating_lines(ratings: list[Rating], problem: str, reference: str) -> list[str]:
    """Every model on one scale; nothing for two models, of which the duel says all."""
    if problem:
        return ["ratings (Bradley-Terry)", f"  {problem}"]
    if not ratings:
        return []
    lines = [f"ratings (Bradley-Terry, relative to {reference}; 400 more are ten to one)"]
    for rating in ratings:
        low, high = rating.interval
        interval = (
            f"  95 %: {low:+.0f} to {high:+.0f}" if rating.model != reference else "  the measure"
        )
        lines.append(f"  {rating.rating:+6.0f}  {rating.model:<28}{interval}")
    return lines


def report_lines(report: Report) -> list[str]:
    lines = summary(report)
    for duel, length in zip(report.duels, report.lengths, strict=True):
        lines += ["", *duel_lines(duel, length)]
    lines += ["", line] if (line := next_line(report)) else []
    ratings = rating_lines(report.ratings, report.ratings_problem, report.reference)
    return [*lines, "", *ratings] if ratings else lines
