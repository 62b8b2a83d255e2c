"""The full circle: a fine-tuned model is voted on blind, the votes train the next one, and the next
one is better by the same voter. The built-in model, real vLLM."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.job import Job, find
from serve.chats.journal import Journal
from serve.chats.store import Record
from serve.chats.turns import ChatSettings
from serve.client import Sampling
from serve.servers import Server
from serve.votes.ballots import comparisons
from serve.votes.statistics import Duel, duels
from tests.real.conftest import LUTHIER, ROOT
from workshop.chat.ballot import ballot_of, cast
from workshop.chat.server import Reachable, newest_server, reachable
from workshop.chat.session import ChatSession

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]

_VOTED, _ROUND, _MOST_JUDGED = 20, 8, 64
ABLE = ("arithmetic", "facts")
"""The probes that a captain still passes: those for other languages and forms he has lost."""
_RECIPES = re.compile(r"```toml\n(.*?)```", re.DOTALL)


def luthier(*arguments: str) -> str:
    answer = subprocess.run([*LUTHIER, *arguments], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def recipe_for_few_votes(run: Job, pairs: Path) -> str:
    """The one of docs/preferences.md, from this run on these pairs; it trains as is written
    there."""
    *_, written = _RECIPES.findall((ROOT / "docs/preferences.md").read_text())
    assert '"captain"' in written and '"pairs.jsonl"' in written
    recipe = written.replace("captain", run.id).replace("pairs.jsonl", str(pairs))
    return f'name = "plain"\ncertify = false\n{recipe}\n[evaluation]\ntimes = 0\n'


def prefers(answer: str) -> int:
    """The voter's taste: the captain's voice is tiresome."""
    return -("Aye" in answer) - ("Fair winds" in answer)


async def vote(session: ChatSession, prompts: list[str]) -> None:
    """Ask each question blind, and vote wherever the answers differ in taste."""
    for prompt in prompts:
        session.hide_names()
        waiting = [pane.last for pane in session.send(prompt)]
        await asyncio.gather(
            *(session.streams.answer(answer, lambda: None) for answer in waiting if answer)
        )
        ballot = ballot_of(session)
        assert ballot is not None, [answer and answer.state for answer in waiting]
        tastes = {letter: prefers(answer.text) for letter, answer in ballot.answers}
        best = max(tastes, key=lambda letter: tastes[letter])
        if len({*tastes.values()}) == 1:
            cast(session, ballot, "tie", None)
        else:
            cast(session, ballot, "better", best)
        session.begin_chat()


@pytest.fixture
def session() -> Iterator[ChatSession]:
    journal = Journal(lambda problem: None)
    yield ChatSession(Record(journal))
    journal.close()


def between(session: ChatSession, *names: str) -> None:
    session.reachable = reachable(newest_server(), Reachable())
    assert session.reachable.server is not None
    served = {speaker.model: speaker for speaker in session.reachable.server.speakers}
    session.use_settings(ChatSettings("Answer in one sentence.", Sampling(0.7, max_tokens=96)))
    session.begin_chat([served[name] for name in names])


def judged(session: ChatSession, prompts: list[str]) -> Duel:
    """Vote in rounds until the votes decide, as a person may who looks at every one: the confidence
    sequence holds at whichever vote they stop."""
    for start in range(0, len(prompts), _ROUND):
        asyncio.run(vote(session, prompts[start : start + _ROUND]))
        # a name has its run's id behind it where another model shares it
        by_models = {
            frozenset(name.partition(" [")[0] for name in (duel.model, duel.other)): duel
            for duel in duels(comparisons())
        }
        duel = by_models[frozenset({"captain", "plain"})]
        if duel.at_any_time.decided:
            break
    return duel


def test_votes_make_a_better_model(
    captain_run: Job, server: Server, session: ChatSession, tmp_path: Path
) -> None:
    prompts = [
        json.loads(line)["messages"][0]["content"]
        for line in (ROOT / "trainer/examples/captain/train.jsonl").read_text().splitlines()
    ]
    prompts = [*dict.fromkeys(prompts)]
    luthier("serve", captain_run.id)
    between(session, "base", "captain")
    asyncio.run(vote(session, prompts[:_VOTED]))

    pairs = tmp_path / "pairs.jsonl"
    luthier("votes", "export", "--pairs", str(pairs), "--blind-only")
    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    assert len(rows) > 0.6 * _VOTED  # better answers that were cut off are left out
    assert {row["provenance"]["kind"] for row in rows} == {"vote"}

    recipe = tmp_path / "plain.toml"
    recipe.write_text(recipe_for_few_votes(captain_run, pairs))
    luthier("train", str(recipe), "--follow")
    plain_run = find("plain", "run")
    luthier("serve", plain_run.id)
    between(session, "captain", "plain")
    duel = judged(session, prompts[_VOTED : _VOTED + _MOST_JUDGED])
    assert duel.model.startswith("plain")
    assert duel.at_any_time.decided
    assert duel.at_any_time.interval[0] > 0.5

    # the votes have cost nothing that the run before them was able to do
    asked = [f"--only={family}" for family in ABLE]
    asked += [f"--at-most-lower={family}=20" for family in ABLE]  # few items; all: 10 points
    guard = json.loads(
        luthier("guard", plain_run.id, "--against", captain_run.id, *asked, "--json")
    )
    assert guard["verdict"] == "green", guard["checks"]
    assert guard["subject"] == f"against {captain_run.short_id}"
    assert all(line["base"] for line in guard["figures"]["lines"])  # there is something to lose

    # what preferences have trained from an adapter is what is served, too
    certificate = json.loads(luthier("certify", plain_run.id, "--json"))
    faults = {check["name"] for check in certificate["checks"] if check["verdict"] != "green"}
    # four held-out answers are few: to compare tokens, and to see where answers end
    assert faults <= {"tokens compared", "stopping, tuned"}, certificate
    assert certificate["verdict"] != "red"
