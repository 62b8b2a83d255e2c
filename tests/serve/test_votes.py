"""Votes: what is made of them."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from serve.chats.journal import Journal
from serve.chats.store import Chat, Record, Verdict, Vote
from serve.chats.turns import Answer, ChatSettings, Given, Speaker, new_id
from serve.votes import report
from serve.votes.ballots import Comparison, Outcome, comparisons
from serve.votes.confidence import evidence, is_decided, p_value, win_rate_bounds
from serve.votes.export import collect, to_jsonl
from serve.votes.next_pair import expected_votes, next_pair
from serve.votes.report import full_report, quick_report
from serve.votes.statistics import (
    duels,
    fewest_votes,
    is_significant,
    more_votes,
    sign_test,
    wilson,
)
from tests.serve.chat_writing import BASE, CAPTAIN, PIRATE, ask, complete, new_chat, write
from trainer.data.formats import recognise

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("statsmodels")]


def vote(
    chat: Chat,
    answers: list[Answer],
    verdict: Verdict,
    choice: int | None = None,
    blind: bool = True,
    reason: str = "",
) -> Vote:
    """Judge these answers; `choice` is the place of one of them."""
    journal = Journal()
    chosen = answers[choice].id if choice is not None else None
    made = Vote(
        new_id(),
        answers[0].turn.id,
        tuple(answer.id for answer in answers),
        verdict,
        chosen,
        blind,
        reason,
    )
    Record(journal).voted(chat, made)
    assert journal.close()
    return made


def duel_of(
    base: str, captain: str, verdict: Verdict, choice: int | None = None, blind: bool = True
) -> list[Answer]:
    """A chat of one turn, with its vote."""
    chat = new_chat()
    answers = write(chat, "Hi", [base, captain])
    vote(chat, answers, verdict, choice, blind)
    return answers


# The arithmetic


# wins, losses, and scipy 1.17's binomtest(wins, votes): its p-value and proportion_ci(0.95,
# method="wilson")
SCIPY = [
    (1, 0, 1.0, 0.2065493144, 1.0),
    (0, 6, 0.03125, 0.0, 0.3903342879),
    (5, 0, 0.0625, 0.5655175352, 1.0),
    (6, 0, 0.03125, 0.6096657121, 1.0),
    (7, 3, 0.34375, 0.3967781475, 0.8922087326),
    (10, 10, 1.0, 0.2992980082, 0.7007019918),
    (12, 6, 0.2378845215, 0.437494673, 0.8372122525),
    (30, 50, 0.0329926184, 0.276941787, 0.4845127454),
    (41, 19, 0.0062176027, 0.5576623297, 0.7869413245),
    (60, 60, 1.0, 0.4119387054, 0.5880612946),
    (99, 1, 0.0, 0.9455138038, 0.9982325679),
]


@pytest.mark.parametrize(("wins", "losses", "p_of_sign_test", "low", "high"), SCIPY)
def test_sign_test_and_interval_are_those_of_scipy(
    wins: int, losses: int, p_of_sign_test: float, low: float, high: float
) -> None:
    assert sign_test(wins, losses) == pytest.approx(p_of_sign_test, abs=1e-9)
    assert wilson(wins, wins + losses) == pytest.approx((low, high), abs=1e-9)


def ever_wrong(rate: float, votes: int) -> float:
    """The probability that votes that fall at this rate refute it at some time: exact, over all
    ways that they can fall."""
    alive, wrong = {0: 1.0}, 0.0
    for number in range(1, votes + 1):
        after: dict[int, float] = {}
        for wins, chance in alive.items():
            for won, share in ((1, rate), (0, 1 - rate)):
                after[wins + won] = after.get(wins + won, 0.0) + chance * share
        alive = {}
        for wins, chance in after.items():
            if evidence(wins, number - wins, rate) <= -math.log(0.05):
                alive[wins] = chance
            else:
                wrong += chance
    return wrong


@pytest.mark.parametrize("rate", [0.5, 0.8])
def test_whoever_looks_after_each_vote_is_wrong_in_at_most_one_case_of_twenty(rate: float) -> None:
    assert 0.001 < ever_wrong(rate, 400) <= 0.05


def test_bounds_and_decision_agree() -> None:
    for votes in range(1, 60):
        for wins in range(votes + 1):
            low, high = win_rate_bounds(wins, votes - wins)
            assert low <= wins / votes <= high
            for bound, inside in ((low, low + 1e-6), (high, high - 1e-6)):
                if 0 < bound < 1:
                    assert evidence(wins, votes - wins, bound) == pytest.approx(-math.log(0.05))
                    assert evidence(wins, votes - wins, inside) < -math.log(0.05)
            refuted = low > 0.5 or high < 0.5
            assert (
                refuted == is_decided(wins, votes - wins) == (p_value(wins, votes - wins) <= 0.05)
            )


def test_six_of_one_mind_decide_nothing_and_seven_do() -> None:
    assert not is_decided(6, 0)
    assert is_decided(7, 0)
    assert fewest_votes() == 7


def test_the_next_pair_is_the_one_that_decides_soonest() -> None:
    duel_of("better", "worse", "better", 0)
    pairs = [("base", "captain"), ("base", "plain"), ("captain", "plain")]
    for _ in range(5):
        duel_of("better", "worse", "better", 0)
    assert next_pair(duels(comparisons()), pairs) == ("base", "captain")
    assert next_pair([], pairs[1:]) == ("base", "plain")
    for _ in range(4):
        duel_of("better", "worse", "better", 0)
    assert next_pair(duels(comparisons()), pairs[:1]) is None  # decided
    assert next_pair(duels(comparisons()), pairs) == ("base", "plain")
    assert expected_votes(6, 0) < expected_votes(1, 0) < expected_votes(0, 0)
    assert expected_votes(6, 0) < expected_votes(6, 5)


@pytest.mark.parametrize(
    ("wins", "losses", "others", "expected"),
    [
        (7, 0, 0, 0),
        (6, 0, 0, 1),
        (6, 0, 6, 2),
        (3, 3, 0, None),
        (0, 0, 9, None),
        (1, 0, 0, 6),
        (0, 4, 0, 3),
        (501, 499, 0, None),
    ],
)
def test_votes_that_are_still_needed(
    wins: int, losses: int, others: int, expected: int | None
) -> None:
    assert more_votes(wins, losses, others, is_decided) == expected


def test_needed_votes_would_indeed_decide() -> None:
    for decides in (is_decided, is_significant):
        needed = more_votes(12, 6, 0, decides)
        assert needed is not None
        for total, expected in ((18 + needed, True), (18 + needed - 1, False)):
            ahead = round(total * 12 / 18)
            assert decides(ahead, total - ahead) == expected


# From the database


def test_ties_and_bad_answers_are_told_apart_and_names_do_not_count_in_sight() -> None:
    for _ in range(4):
        duel_of("short", "a longer answer", "better", 1)
    duel_of("a longer answer", "short", "worse", 0)
    duel_of("one", "two", "better", 0)
    duel_of("one", "two", "tie")
    duel_of("one", "two", "bad")
    duel_of("one", "two", "better", 0, blind=False)
    (duel,) = duels([one for one in comparisons() if one.blind])
    assert (duel.model, duel.other) == ("captain", "base")
    assert (duel.wins, duel.losses, duel.ties, duel.bad, duel.votes) == (5, 1, 1, 1, 8)
    assert duel.win_rate == pytest.approx(5 / 6)
    assert duel.p_value == pytest.approx(sign_test(5, 1))
    assert (duel.longer_won, duel.shorter_won) == (4, 1)  # "one" and "two" are equally long
    assert duel.at_any_time.p_value == pytest.approx(p_value(5, 1))
    assert not (duel.decided or duel.at_any_time.decided)
    counted = quick_report()
    assert (counted.blind, counted.named_votes) == (8, 1)
    assert quick_report(every=True).duels[0].losses == 2


def test_the_best_of_three_beats_both_and_says_nothing_of_them() -> None:
    chat = new_chat(BASE, CAPTAIN, PIRATE)
    vote(chat, write(chat, "Hi", ["a", "b", "c"]), "better", 2)
    chat = new_chat(BASE, CAPTAIN, PIRATE)
    vote(chat, write(chat, "Hi", ["a", "b", "c"]), "worse", 0)
    found = sorted(
        (duel.model, duel.other, duel.wins, duel.losses) for duel in duels(comparisons())
    )
    assert found == [
        ("captain", "base", 1, 0),
        ("pirate", "base", 2, 0),
        ("pirate", "captain", 1, 0),
    ]


def test_runs_of_one_name_are_two_models() -> None:
    for run in ("20261118-0003-captain-00ff", "20261119-0003-captain-11ff"):
        chat = new_chat(BASE, Speaker("captain", "tuned", run=run, path=f"/runs/{run}"))
        vote(chat, write(chat, "Hi", ["a", "b"]), "better", 1)
    assert {duel.model for duel in duels(comparisons())} == {
        "captain [20261118-0003-captain-00ff]",
        "captain [20261119-0003-captain-11ff]",
    }


def test_the_same_model_twice_says_nothing() -> None:
    chat = new_chat(CAPTAIN, CAPTAIN)
    vote(chat, write(chat, "Hi", ["a", "b"]), "better", 0)
    assert comparisons() == []
    assert quick_report().duels == []


# Fits


def comparison(first: str, second: str, won: bool, longer: int) -> Comparison:
    outcome: Outcome = "first" if won else "second"
    return Comparison(
        new_id(), "c", "t", first, second, outcome, 100 + longer, 100, None, None, True, 0.0
    )


def simulated(
    strengths: dict[str, float], per_pair: int, length_effect: float = 0.0, longer: float = 0.0
) -> list[Comparison]:
    """Votes of a world in which strengths (log-odds) and lengths alone decide. The first model's
    answers are longer by `longer`."""
    chance, names, made = random.Random(5), sorted(strengths), []
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            for _ in range(per_pair):
                difference = round(chance.gauss(longer, 40))
                odds = strengths[one] - strengths[other] + length_effect * difference
                made.append(
                    comparison(
                        one, other, chance.random() < 1 / (1 + 2.718281828 ** (-odds)), difference
                    )
                )
    return made


def test_verbosity_does_not_win_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two models alike but for length, of a jury that likes long answers: ahead by the count, even
    at equal length."""
    votes = simulated({"a": 0.0, "b": 0.0}, 400, length_effect=0.03, longer=40)
    monkeypatch.setattr(report, "comparisons", lambda: votes)
    found = full_report()
    assert found.duels[0].model == "a"
    assert found.duels[0].win_rate is not None
    assert found.duels[0].win_rate > 0.6
    effect = found.lengths[0]
    assert effect.interval[0] < 0.5 < effect.interval[1]
    assert effect.odds_per_spread > 1.5
    assert effect.length_p_value < 0.001


def test_ratings_find_the_order_and_their_intervals_the_truth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elo = 400 / 2.302585093
    monkeypatch.setattr(
        report, "comparisons", lambda: simulated({"base": 0.0, "captain": 1.2, "pirate": -0.7}, 150)
    )
    found = full_report()
    assert found.reference == "base"
    assert [rating.model for rating in found.ratings] == ["captain", "base", "pirate"]
    for rating, truth in zip(found.ratings, (1.2, 0.0, -0.7), strict=True):
        assert rating.interval[0] <= truth * elo <= rating.interval[1]
    assert found.ratings[1].interval == (0.0, 0.0)


def test_what_cannot_be_fitted_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    unanimous = [
        comparison("base", other, False, longer)
        for other in ("captain", "pirate")
        for longer in range(10)
    ]
    monkeypatch.setattr(report, "comparisons", lambda: unanimous)
    found = full_report()
    assert found.ratings == []
    assert "there is no rating" in found.ratings_problem
    assert all("no fit exists" in effect.problem for effect in found.lengths)
    monkeypatch.setattr(report, "comparisons", lambda: unanimous[:3])
    assert full_report().lengths[0].problem.startswith("One of the two has fewer than")


def test_equal_lengths_have_no_effect() -> None:
    pytest.importorskip("statsmodels")
    from serve.votes.bradley_terry import length_effect

    assert length_effect([0.0] * 12, [0, 1] * 6) == {"problem": "All answers are equally long."}


def test_without_the_library_the_counts_still_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    votes = simulated({"a": 0.5, "b": 0.0}, 20)
    monkeypatch.setattr(report, "comparisons", lambda: votes)
    monkeypatch.setattr("serve.votes.report.importlib.util.find_spec", lambda name: None)
    found = full_report()
    assert "not installed" in found.lengths[0].problem
    assert found.duels[0].votes == 20


# Export


def rows_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_votes_become_preference_pairs_that_the_trainer_reads() -> None:
    chat = new_chat(settings=ChatSettings("Be brief."))
    answers = write(chat, "Hi", ["Hello.", "Ahoy!"])
    vote(chat, answers, "better", 1, reason="in character")
    (row,) = rows_of(to_jsonl(collect().pairs))
    assert row["prompt"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]
    assert row["chosen"] == [{"role": "assistant", "content": "Ahoy!"}]
    assert row["rejected"] == [{"role": "assistant", "content": "Hello."}]
    about = row["provenance"]
    assert (about["kind"], about["blind"], about["reason"], about["chat"]) == (
        "vote",
        True,
        "in character",
        chat.id,
    )
    assert (about["chosen_model"]["run"], about["rejected_model"]["model"]) == (CAPTAIN.run, "base")
    assert about["sampling"]["seed"] == 7
    found = recognise([row])
    assert found.name == "preference"
    assert [message["content"] for message in found.convert(row).messages][-2:] == ["Hi", "Ahoy!"]


def test_only_answers_to_the_same_conversation_make_a_pair() -> None:
    chat = new_chat()
    write(chat, "One", ["a1", "b1"])
    # each pane has its own history by now
    vote(chat, write(chat, "Two", ["a2", "b2"]), "better", 0)
    chat = new_chat()
    first = write(chat, "One", ["a1", "b1"])
    for pane in chat.panes:
        pane.head = first[1]
    vote(chat, write(chat, "Two", ["a2", "b2"]), "worse", 0)
    duel_of("same", "same", "better", 0)
    duel_of("a", "b", "tie")
    duel_of("a", "b", "bad")
    exported = collect()
    (row,) = exported.pairs
    assert [(message["content"], message.get("weight", 1)) for message in row["prompt"]] == [
        ("One", 1),
        ("b1", 0),
        ("Two", 1),
    ]
    trained = [
        message["content"]
        for message in recognise([row]).convert(row).messages
        if message["role"] == "assistant" and message.get("weight", 1)
    ]
    assert trained == ["b2"]
    assert row["chosen"][0]["content"] == "b2"
    assert exported.left_out == {
        "the two models answered different conversations": 1,
        "both gave the same answer": 1,
        "a tie": 1,
        "both bad": 1,
    }


def test_a_better_answer_that_was_cut_off_makes_no_pair() -> None:
    """It would teach to stop there; a worse one that has no end teaches to end."""
    for cut, choice in (("base", 0), ("captain", 0), ("captain", 1)):
        chat = new_chat()
        journal = Journal()
        record = Record(journal)
        answers = ask(chat, "Hi")
        record.begun(chat, answers)
        for answer in answers:
            model = answer.speaker.model
            complete(answer, f"{model} says", reason="length" if model == cut else "stop")
            record.ended(answer)
        assert journal.close()
        vote(chat, answers, "better", choice)
    exported = collect()
    (pair,) = exported.pairs
    assert (pair["chosen"][0]["content"], pair["rejected"][0]["content"]) == (
        "base says",
        "captain says",
    )
    why = "the better answer was cut off at its longest length"
    assert exported.left_out == {why: 2} and exported.left_out_note == f" Left out: 2 ({why})."


def test_votes_with_names_in_sight_can_be_left_out() -> None:
    duel_of("a", "b", "better", 0, blind=False)
    assert len(collect().pairs) == 1
    exported = collect(with_named=False)
    assert exported.pairs == []
    assert exported.left_out == {"cast while the names were visible": 1}


def corrected_chat() -> Chat:
    """Two turns; the second answer of base was corrected twice."""
    chat = new_chat()
    write(chat, "One", ["a1", "b1"])
    answers = write(chat, "Two", ["wrong", "b2"])
    journal = Journal()
    for text in ("better", "best"):
        corrected = Answer(
            answers[0].turn, BASE, answers[0].parent, Given(), corrects=answers[0].id, pieces=[text]
        )
        chat.panes[0].answers[-1] = chat.panes[0].head = corrected
        Record(journal).begun(chat, [corrected])
    assert journal.close()
    return chat


def test_a_corrected_answer_becomes_a_conversation_and_a_pair() -> None:
    chat = corrected_chat()
    exported = collect()
    (row,) = rows_of(to_jsonl(exported.corrected))
    assert [
        (message["role"], message["content"], message.get("weight", 1))
        for message in row["messages"]
    ] == [
        ("user", "One", 1),
        ("assistant", "a1", 0),
        ("user", "Two", 1),
        ("assistant", "best", 1),
    ]
    assert (row["provenance"]["original"], row["provenance"]["chat"]) == ("wrong", chat.id)
    read = recognise([row])
    assert read.name == "messages"
    assert read.convert(row).messages[-1]["content"] == "best"
    (pair,) = exported.pairs
    assert (pair["chosen"][0]["content"], pair["rejected"][0]["content"]) == ("best", "wrong")
    assert pair["provenance"]["kind"] == "correction"


def test_both_files_can_be_named_in_one_recipe(tmp_path: Path) -> None:
    """Each file's format is told from its own rows."""
    corrected_chat()
    duel_of("a", "b", "better", 1)
    exported = collect()
    for name, rows in (("pairs.jsonl", exported.pairs), ("corrected.jsonl", exported.corrected)):
        (tmp_path / name).write_text(to_jsonl(rows))
    for name, expected in (("pairs.jsonl", "preference"), ("corrected.jsonl", "messages")):
        rows = rows_of((tmp_path / name).read_text())
        assert recognise(rows).name == expected
        assert all(recognise(rows).convert(row).messages[-1]["role"] == "assistant" for row in rows)
