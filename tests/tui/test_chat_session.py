"""What is sent, kept, repeated and forgotten: the conversation without a screen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import count

import pytest

from jobs.luthier_error import LuthierError
from serve.chats import store
from serve.chats.formatting import figures
from serve.chats.journal import Journal
from serve.chats.store import Chat, Record
from serve.chats.turns import (
    REFERENCE,
    Answer,
    ChatSettings,
    Complete,
    Conversation,
    Failed,
    Given,
    Halted,
    Speaker,
    ToolCall,
    Turn,
    Waiting,
    Writing,
)
from serve.client import ContextExceeded, Delta, Finished, Sampling
from serve.replay import ScriptTurn
from tui.chat.text import call_line, dotted_rows, settings_line, thought_line
from workshop.chat.ballot import ballot_of, cast, explain
from workshop.chat.replay import Replay
from workshop.chat.session import ChatSession

FINISHED = Finished("stop", 9, 3, 0.13, 0.33)
BASE, CAPTAIN, PIRATE = Speaker("base"), Speaker("captain", "tuned"), Speaker("pirate", "tuned")


async def stream(*items: Delta | Finished | Exception) -> AsyncIterator[Delta | Finished]:
    for item in items:
        await asyncio.sleep(0)
        if isinstance(item, Exception):
            raise item
        yield item


async def answer(
    chat: ChatSession, pane: Conversation, *items: Delta | Finished | Exception
) -> Answer:
    last = pane.answers[-1]
    await chat.streams.receive(last, stream(*items), lambda: None)
    return last


async def answer_all(chat: ChatSession, *texts: str) -> None:
    for pane, text in zip(chat.contestants, texts, strict=True):
        await answer(chat, pane, Delta(text), FINISHED)


def session(*speakers: Speaker) -> ChatSession:
    seeds = count(100)
    made = ChatSession(Record(Journal()), draw_seed=lambda: next(seeds))
    made.chat = Chat(panes=[Conversation(speaker) for speaker in speakers or (BASE, CAPTAIN)])
    return made


def read_back(chat: ChatSession) -> Chat:
    assert chat.record.journal.flush()
    return store.load(chat.chat.id)


def sent(answer: Answer) -> list[str]:
    return [str(message["content"]) for message in answer.context()]


def refused() -> LuthierError:
    return LuthierError("The server does not answer", "Nothing answers.", "Start it.")


async def test_all_panes_get_the_same_turn_and_seed() -> None:
    chat = session(BASE, CAPTAIN, PIRATE)
    chat.send("Hi")
    first, *others = (pane.answers[-1] for pane in chat.panes)
    assert all(other.turn is first.turn for other in others)
    assert first.turn.settings.sampling.seed == 100
    assert [pane.answers[-1].speaker for pane in chat.panes] == [BASE, CAPTAIN, PIRATE]
    assert chat.answering


async def test_each_pane_sends_its_own_history() -> None:
    chat = session()
    chat.use_settings(ChatSettings("Be brief.", Sampling(seed=7)))
    chat.send("Hi")
    await answer_all(chat, "Hello.", "Ahoy!")
    chat.send("Who are you?")
    for pane, text in zip(chat.panes, ("Hello.", "Ahoy!"), strict=True):
        assert [message["role"] for message in pane.answers[-1].context()] == [
            "system",
            "user",
            "assistant",
            "user",
        ]
        assert sent(pane.answers[-1]) == ["Be brief.", "Hi", text, "Who are you?"]
    assert chat.panes[0].answers[-1].turn.settings.sampling.seed == 7


async def test_all_can_continue_from_one_answer() -> None:
    chat = session()
    chat.send("Hi")
    await answer_all(chat, "Hello.", "Ahoy!")
    chosen = chat.panes[1].answers[-1]
    chat.continue_from(chosen)
    chat.send("And?")
    assert [sent(pane.answers[-1]) for pane in chat.panes] == [["Hi", "Ahoy!", "And?"]] * 2
    # its own answer stays in sight
    assert [answer.text for answer in chat.panes[0].answers] == ["Hello.", ""]
    await answer_all(chat, "Well.", "Arr.")
    chat.send("More")
    assert sent(chat.panes[0].answers[-1]) == ["Hi", "Ahoy!", "And?", "Well.", "More"]
    assert sent(read_back(chat).panes[0].answers[-1]) == ["Hi", "Ahoy!", "And?", "Well.", "More"]


async def test_first_text_is_announced_once() -> None:
    chat = session()
    chat.send("Hi")
    last = chat.panes[0].answers[-1]
    assert type(last.state) is Waiting
    announced: list[bool] = []
    items = stream(Delta("a"), Delta("b"), FINISHED)
    await chat.streams.receive(
        last, items, lambda: announced.append(isinstance(last.state, Writing))
    )
    assert announced == [True]
    assert last.text == "ab"
    assert isinstance(last.state, Complete)


async def test_stop_keeps_what_came_and_sends_it_on() -> None:
    chat = session()
    chat.send("Hi")
    pane = chat.panes[0]
    arrived = asyncio.Event()

    async def endless() -> AsyncIterator[Delta | Finished]:
        yield Delta("Well, ")
        arrived.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(chat.streams.receive(pane.answers[-1], endless(), lambda: None))
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert isinstance(pane.answers[-1].state, Halted)
    assert isinstance(read_back(chat).panes[0].answers[-1].state, Halted)
    chat.panes[1].answers[-1].halt()
    chat.send("Go on")
    assert sent(pane.answers[-1]) == ["Hi", "Well, ", "Go on"]


async def test_an_answer_that_brought_nothing_makes_way() -> None:
    chat = session()
    chat.send("Hi")
    failed = await answer(chat, chat.panes[0], refused())
    assert isinstance(failed.state, Failed)
    chat.panes[1].answers[-1].halt()
    chat.send("Hi")
    assert [sent(pane.answers[-1]) for pane in chat.panes] == [["Hi"]] * 2


async def test_retry_after_failure_keeps_the_seed_and_takes_new_settings() -> None:
    chat = session()
    chat.send("Hi")
    await answer(chat, chat.panes[0], refused())
    await answer(chat, chat.panes[1], Delta("Ahoy!"), FINISHED)
    chat.use_settings(ChatSettings("", Sampling(max_tokens=16)))
    assert chat.retry([chat.panes[0]]) == [chat.panes[0]]
    last = chat.panes[0].answers[-1]
    assert (last.turn.id, last.turn.prompt, len(chat.panes[0].answers)) == (
        chat.panes[1].answers[-1].turn.id,
        "Hi",
        1,
    )
    assert last.turn.settings.sampling == Sampling(max_tokens=16, seed=100)
    assert chat.panes[1].answers[-1].text == "Ahoy!"
    assert read_back(chat).panes[0].answers[-1].turn.settings.sampling == Sampling(
        max_tokens=16, seed=100
    )


async def test_retry_of_complete_answers_draws_one_new_seed() -> None:
    chat = session()
    chat.send("Hi")
    await answer_all(chat, "Hello.", "Ahoy!")
    chat.retry(chat.panes)
    assert [pane.answers[-1].turn.settings.sampling.seed for pane in chat.panes] == [101, 101]
    assert not chat.panes[0].answers[-1].pieces


def test_retry_of_nothing_is_nothing() -> None:
    chat = session()
    assert chat.retry(chat.panes) == []


async def test_an_edited_turn_is_asked_again_where_it_stood() -> None:
    chat = session()
    for prompt in ("One", "Two", "Three"):
        chat.send(prompt)
        await answer_all(chat, f"{prompt}-base", f"{prompt}-captain")
    second = chat.panes[0].answers[1].turn
    chat.edit(second, "Two, please")
    assert [sent(pane.answers[-1]) for pane in chat.panes] == [
        ["One", "One-base", "Two, please"],
        ["One", "One-captain", "Two, please"],
    ]
    edited = chat.panes[0].answers[-1].turn
    assert (edited.number, edited.edits, len(chat.panes[0].answers)) == (2, second.id, 2)
    await answer_all(chat, "a", "b")
    found = read_back(chat)
    assert [turn.prompt for turn in found.turns] == ["One", "Two, please"]


async def test_a_corrected_answer_is_what_the_conversation_goes_on_from() -> None:
    chat = session()
    for prompt in ("One", "Two"):
        chat.send(prompt)
        await answer_all(chat, f"{prompt}-base", f"{prompt}-captain")
    pane = chat.panes[0]
    chat.correct(pane, pane.answers[0], "in my words")
    # what came after continued the old words
    assert [answer.text for answer in pane.answers] == ["in my words"]
    assert pane.answers[0].state == Given()
    chat.correct(pane, pane.answers[0], "in better words")
    assert (
        pane.answers[0].corrects == chat.panes[1].answers[0].id
        or pane.answers[0].corrects is not None
    )
    chat.send("Three")
    assert sent(pane.answers[-1]) == ["One", "in better words", "Three"]
    assert read_back(chat).panes[0].answers[0].text == "in better words"


async def test_clear_and_back() -> None:
    chat = session()
    assert not chat.can_clear
    chat.send("Hi")
    await answer_all(chat, "Hello.", "Ahoy!")
    old = chat.chat
    chat.clear()
    assert chat.empty
    assert chat.chat.id != old.id
    assert [pane.speaker for pane in chat.panes] == [BASE, CAPTAIN]
    chat.clear()
    assert chat.chat is old


async def test_a_chat_of_before_goes_on() -> None:
    chat = session()
    chat.send("Hi")
    await answer_all(chat, "Hello.", "Ahoy!")
    chat.record.journal.flush()
    later = session()
    later.open(store.load(chat.chat.id))
    later.send("And?")
    assert sent(later.panes[1].answers[-1]) == ["Hi", "Ahoy!", "And?"]
    await answer_all(later, "a", "b")
    assert [turn.number for turn in read_back(later).turns] == [1, 2]


# Versions


def shown(chat: Chat | ChatSession) -> list[list[str]]:
    return [[answer.text for answer in pane.answers] for pane in chat.panes]


def versions(pane: Conversation) -> list[list[str]]:
    found = pane.versions()
    return [[version.text for version in found.get(answer.id, [])] for answer in pane.answers]


async def test_every_version_of_a_turn_is_shown_again_with_what_came_after_it() -> None:
    chat = session()
    for prompt in ("One", "Two"):
        chat.send(prompt)
        await answer_all(chat, f"{prompt}-base", f"{prompt}-captain")
    left, right = chat.panes
    chat.retry([left])
    await answer(chat, left, Delta("Two-again"), FINISHED)
    assert versions(left) == [[], ["Two-base", "Two-again"]]
    assert versions(right) == [[], []]
    chat.edit(left.answers[0].turn, "One, please")
    await answer_all(chat, "Please-base", "Please-captain")
    assert versions(left) == [["One-base", "Please-base"]]
    chat.show_version(left, left.versions()[left.answers[0].id][0])
    # where the prompts differ, all go back
    assert shown(chat) == [["One-base", "Two-again"], ["One-captain", "Two-captain"]]
    assert versions(left) == [["One-base", "Please-base"], ["Two-base", "Two-again"]]
    chat.show_version(left, left.versions()[left.answers[1].id][0])
    assert shown(chat) == [["One-base", "Two-base"], ["One-captain", "Two-captain"]]
    found = read_back(chat)
    assert shown(found) == shown(chat)
    assert versions(found.panes[0]) == versions(left)
    assert versions(found.panes[1]) == [["One-captain", "Please-captain"], []]
    chat.send("Three")
    assert sent(left.answers[-1]) == ["One", "One-base", "Two", "Two-base", "Three"]


async def test_versions_of_a_correction_and_of_an_answer_that_failed() -> None:
    chat = session()
    chat.send("One")
    await answer_all(chat, "base", "captain")
    pane = chat.panes[0]
    chat.correct(pane, pane.answers[0], "in my words")
    assert versions(pane) == [["base", "in my words"]]
    chat.show_version(pane, pane.versions()[pane.answers[0].id][0])
    chat.retry([pane])
    await answer(chat, pane, refused())
    # from one that failed, there is a way back
    assert versions(pane) == [["base", "in my words", ""]]
    chat.show_version(pane, pane.versions()[pane.answers[0].id][1])
    assert versions(pane) == [["base", "in my words"]]  # what brought nothing is no version
    chat.send("Two")
    assert sent(pane.answers[-1]) == ["One", "in my words", "Two"]


async def test_versions_where_a_pane_went_on_from_the_answer_of_another() -> None:
    chat = session()
    chat.send("One")
    await answer_all(chat, "base-1", "captain-1")
    chat.continue_from(chat.panes[1].answers[0])
    chat.send("Two")
    await answer_all(chat, "base-2", "captain-2")
    chat.edit(chat.chat.turns[0], "One, please")
    await answer_all(chat, "base-3", "captain-3")
    left = chat.panes[0]
    chat.show_version(left, left.versions()[left.answers[0].id][0])
    assert shown(chat) == [["base-1", "base-2"], ["captain-1", "captain-2"]]
    assert sent(left.answers[1]) == ["One", "captain-1", "Two"]


async def test_versions_stay_with_their_pane_when_another_one_goes() -> None:
    chat = session(BASE, CAPTAIN, PIRATE)
    chat.send("One")
    await answer_all(chat, "base", "captain", "pirate")
    chat.retry(chat.panes)
    await answer_all(chat, "base-2", "captain-2", "pirate-2")
    chat.remove_pane(chat.panes[1])
    assert [versions(pane) for pane in read_back(chat).panes] == [
        [["base", "base-2"]],
        [["pirate", "pirate-2"]],
    ]


# A model that can read no more


async def test_the_oldest_turns_are_left_out_as_far_as_needed() -> None:
    chat = session()
    for number in range(1, 5):
        chat.send(f"Turn {number}")
        for pane in chat.panes:
            await answer(
                chat,
                pane,
                Delta(f"answer {number}"),
                Finished("stop", 200 * number - 100, 100, 0.1, 1.0),
            )
    chat.use_settings(ChatSettings("", Sampling(max_tokens=100)))
    chat.send("Too much")
    pane = chat.panes[0]
    await answer(chat, pane, ContextExceeded("too long", limit=1000, used=1150))
    chat.panes[1].answers[-1].halt()
    # 150 over, 100 for the answer: the first turn has 200, the first two 400
    assert chat.forget_oldest(pane) == 2
    chat.retry([pane])
    last = pane.answers[-1]
    assert last.skipped == 2
    assert sent(last) == ["Turn 3", "answer 3", "Turn 4", "answer 4", "Too much"]
    await answer(chat, pane, ContextExceeded("still too long", limit=1000, used=0))
    assert chat.forget_oldest(pane) == 1  # nobody says how long it is: one at a time
    chat.retry([pane])
    assert pane.answers[-1].skipped == 3
    await answer(chat, pane, Delta("short"), FINISHED)
    chat.send("Next")
    assert sent(pane.answers[-1]) == ["Turn 4", "answer 4", "Too much", "short", "Next"]
    assert read_back(chat).panes[0].answers[-1].skipped == 3


# Blind


async def test_blind_chats_are_shuffled_and_unnamed_until_shown() -> None:
    orders = set()
    for _ in range(40):
        chat = session()
        chat.hide_names()
        chat.send("Hi")
        orders.add(tuple(pane.speaker for pane in chat.panes))
        assert [chat.name(pane) for pane in chat.panes] == ["A", "B"]
        assert [chat.name_of(pane.answers[0]) for pane in chat.panes] == ["A", "B"]
    assert orders == {(BASE, CAPTAIN), (CAPTAIN, BASE)}
    chat.halt()
    chat.show_names()
    assert {chat.name(pane) for pane in chat.panes} == {"base", "captain"}
    assert not read_back(chat).blind
    chat.clear()
    assert chat.chat.blind  # the mode stays on


async def test_the_reference_is_named_and_not_shuffled() -> None:
    chat = session(BASE, CAPTAIN, REFERENCE)
    chat.hide_names()
    chat.send_turn(
        ScriptTurn(({"role": "user", "content": "Hi"},), reference="Ahoy, says the data.")
    )
    assert chat.panes[2].speaker == REFERENCE
    assert chat.name(chat.panes[2]) == "reference"
    assert chat.panes[2].answers[-1].state == Given()
    await answer_all(chat, "x", "y")
    ballot = ballot_of(chat)
    assert ballot is not None
    assert [letter for letter, _ in ballot.answers] == ["A", "B"]


async def test_votes_judge_the_last_turn_once() -> None:
    chat = session(BASE, CAPTAIN, PIRATE)
    chat.send("Hi")
    assert ballot_of(chat) is None
    await answer_all(chat, "a", "b", "c")
    ballot = ballot_of(chat)
    assert ballot is not None
    cast(chat, ballot, "worse", "A")
    explain(chat, cast(chat, ballot, "better", "C"), "because")
    (vote,) = read_back(chat).votes.values()
    assert (vote.verdict, vote.choice, vote.reason, vote.blind) == (
        "better",
        chat.panes[2].answers[0].id,
        "because",
        False,
    )


async def test_stopped_and_failed_answers_are_not_judged() -> None:
    chat = session()
    chat.send("Hi")
    await answer(chat, chat.panes[0], Delta("a"), FINISHED)
    chat.panes[1].answers[-1].add(Delta("b"))
    chat.panes[1].answers[-1].halt()
    assert ballot_of(chat) is None


# Prompts from a file


def test_a_replay_goes_through_conversations_turn_by_turn() -> None:
    def turn(text: str) -> ScriptTurn:
        return ScriptTurn(({"role": "user", "content": text},), source={"row": text})

    replay = Replay("file", [(turn("a1"), turn("a2")), (turn("b1"),), (turn("c1"),)])
    assert (replay.progress, replay.begins) == ("1 of 3, turn 1 of 2", True)
    taken = replay.take("a1, edited")
    assert (taken.prompt, taken.source) == ("a1, edited", {"row": "a1"})
    assert (replay.progress, replay.begins) == ("1 of 3, turn 2 of 2", False)
    replay.take("a2")
    assert (replay.progress, replay.begins) == ("2 of 3", True)
    replay.skip(1)
    assert replay.take("c1").prompt == "c1"
    assert replay.next_turn is None
    assert replay.progress == "3 of 3 done"


def test_a_turn_from_a_file_brings_its_own_system_prompt_and_tools() -> None:
    chat = session()
    chat.use_settings(ChatSettings("mine"))
    tools = ({"type": "function"},)
    messages = ({"role": "user", "content": "early"}, {"role": "tool", "content": "42"})
    chat.send_turn(ScriptTurn(messages, None, "the file's", tools, {"file": "f", "row": 3}))
    last = chat.panes[0].answers[-1]
    assert [message["role"] for message in last.context()] == ["system", "user", "tool"]
    assert sent(last)[0] == "the file's"
    assert last.turn.tools == tools
    chat.panes[0].answers[-1].halt()
    chat.retry([chat.panes[0]])
    assert sent(chat.panes[0].answers[-1])[0] == "the file's"
    assert read_back(chat).turns[0].source == {"file": "f", "row": 3}


# Words


def test_figures_say_why_it_ended() -> None:
    turn = Turn(
        "t", 1, ({"role": "user", "content": "Hi"},), ChatSettings("", Sampling(max_tokens=1))
    )
    shown = Answer(turn, BASE, None, Complete(FINISHED))
    assert figures(shown) == ["TTFT 130 ms", "3 tokens", "10.0 tok/s", "stop"]
    shown.state = Complete(Finished("length", 9, 1, 1.25, 1.25))
    assert figures(shown) == ["TTFT 1.2 s", "1 token", "cut at max tokens"]
    shown.turn = Turn("t", 1, turn.messages, ChatSettings())
    assert figures(shown)[-1] == "cut at the context's end"
    shown.state = Halted(None, 2.04)
    assert figures(shown) == ["stopped by you after 2.0 s"]
    shown.state = Complete(FINISHED)
    assert dotted_rows(figures(shown), 30) == ["TTFT 130 ms · 3 tokens", "10.0 tok/s · stop"]
    shown.state = Given()
    assert figures(shown) == ["from the data"]


def test_settings_in_one_line() -> None:
    assert (
        settings_line(ChatSettings())
        == "temperature 0.7 · top-p 0.95 · max 512 · random seed · no system prompt"
    )
    line = settings_line(ChatSettings("You are\na captain.", Sampling(0, 1, 64, 5)))
    assert line == "temperature 0 · top-p 1 · max 64 · seed 5 · system: You are a captain."


def test_folded_lines() -> None:
    assert thought_line("a b c", open_ended=False, unfolded=False) == "▸ thought 3 words · t shows"
    assert thought_line("a", open_ended=True, unfolded=False) == "▸ thinking… 1 word"
    call = ToolCall("c", "get_weather", '{"city": "Port Royal", "unit": "knots"}')
    assert call_line(call, unfolded=False) == '▸ calls get_weather({"city": "Port Royal", …)'
    assert call_line(call, unfolded=True) == "▾ calls get_weather"
