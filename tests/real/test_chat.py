"""The chat with a real server and two adapters: side by side, the lens, a vote, and the data that
they make."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from jobs.job import create
from jobs.spec import Spec
from serve import lens
from serve.chats import search, store
from serve.chats.turns import ChatSettings, Complete
from serve.client import Sampling, unload_adapter
from serve.servers import Server
from serve.votes.export import collect, to_jsonl
from tests.real.random_adapter import write_random_adapter
from trainer.data.formats import recognise
from tui.app import LuthierApp
from tui.chat.model_picker import ModelPicker
from tui.chat.screen import ChatScreen
from workshop.chat.ballot import ballot_of, cast

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


@pytest.fixture
def checkpoint(server: Server, builtin_model: Path) -> Iterator[str]:
    """A run that has left nothing but a checkpoint. The name under which the server will have
    it."""
    run = create(
        Spec(
            "run",
            "noisier",
            "trainer.worker",
            settings={"model": "builtin", "model_directory": str(builtin_model)},
        )
    )
    folder = run.directory / "checkpoints" / "step-000010"
    folder.parent.mkdir()
    (write_random_adapter(folder, builtin_model, seed=2) / "COMPLETE").touch()
    yield "noisier@10"
    asyncio.run(unload_adapter(server.control_endpoint, "noisier@10"))


async def until(condition: Callable[[], bool], pilot: Pilot[None], seconds: float = 120.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.05)
    await pilot.pause()


async def test_base_an_adapter_and_a_checkpoint_side_by_side(
    server: Server, checkpoint: str
) -> None:
    app = LuthierApp(start_screen="chat")
    async with app.run_test(size=(140, 40)) as pilot:
        await until(
            lambda: (
                isinstance(app.screen, ChatScreen)
                and app.screen.session.reachable.server is not None
            ),
            pilot,
        )
        screen = app.screen
        assert isinstance(screen, ChatScreen)
        asked = screen.session.reachable.server
        assert asked is not None
        assert asked.context_length == 4096
        await add_checkpoint(screen, checkpoint, pilot)
        screen.use_settings(ChatSettings("", Sampling(temperature=0.0, max_tokens=24, seed=3)))
        screen.prompt.text = "What is the capital of France?"
        await pilot.press("enter")
        await until(lambda: not screen.session.answering and not screen.session.empty, pilot)
        answers = [pane.answers[0] for pane in screen.session.panes]
        assert all(isinstance(answer.state, Complete) for answer in answers)
        assert "Paris" in answers[0].text
        assert len({answer.text for answer in answers}) == 3
        await check_lens(screen, pilot)
        ballot = ballot_of(screen.session)
        assert ballot is not None
        cast(screen.session, ballot, "better", "A")
        assert screen.journal.flush()
        chat_id = screen.session.chat.id
    found = store.load(chat_id)
    assert [pane.answers[0].text for pane in found.panes] == [answer.text for answer in answers]
    assert {hit.chat.id for hit in search.search("paris")} == {chat_id}
    check_pairs(chat_id)


async def add_checkpoint(screen: ChatScreen, name: str, pilot: Pilot[None]) -> None:
    """A third pane, by the keys: the server loads the checkpoint when it is chosen."""
    await pilot.press("escape", "plus")
    picker = screen.app.screen
    assert isinstance(picker, ModelPicker)
    await until(lambda: picker.highlighted is not None, pilot)
    picker.query_one(Input).value = name
    await pilot.pause()
    assert picker.highlighted is not None
    assert picker.highlighted.value.speaker.kind == "checkpoint"
    await pilot.press("enter")
    await until(lambda: len(screen.session.panes) == 3, pilot)
    screen.prompt.focus()


async def check_lens(screen: ChatScreen, pilot: Pilot[None]) -> None:
    """One key, and every answer is marked: the base's own words are likelier to the base."""
    await pilot.press("f3")
    transcripts = [pane.transcript for pane in screen.sides.panes]
    await until(lambda: all(transcript.look.marked for transcript in transcripts), pilot)
    for transcript, pane in zip(transcripts, screen.session.panes, strict=True):
        (marked,) = transcript.look.marked.values()
        assert "".join(text for text, _ in marked.pieces) == pane.answers[0].text
    assert any(
        "unlikelier" in mark for _, mark in next(iter(transcripts[0].look.marked.values())).pieces
    )


def check_pairs(chat_id: str) -> None:
    """What was voted reads as preference pairs to the trainer and to TRL."""
    from trl.data_utils import is_conversational

    pairs = [row for row in collect().pairs if row["provenance"]["chat"] == chat_id]
    assert len(pairs) == 2
    assert "Paris" in pairs[0]["chosen"][0]["content"]
    assert all(is_conversational(row) for row in pairs)
    assert recognise(pairs).name == "preference"
    assert len(to_jsonl(pairs).splitlines()) == 2


async def test_the_lens_of_a_model_against_itself_sees_nothing(server: Server) -> None:
    """The same tokens, the same model: what differs is vLLM's own noise."""
    question = [{"role": "user", "content": "What is the capital of France?"}]
    answer = "The capital of France is Paris. 🙂"
    same = await lens.shifts(server.endpoint, "base", "builtin", question, answer)
    other = await lens.shifts(server.endpoint, "base", "noisy", question, answer)
    assert "".join(shift.text for shift in same) == "".join(shift.text for shift in other) == answer
    assert max(abs(shift.difference) for shift in same) < 0.2
    assert sum(shift.difference for shift in other) < -1.0
