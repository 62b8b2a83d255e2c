"""The parts of the chat without an app: a session, the widgets unmounted, and a view that notes
what it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from textual.screen import Screen
from textual.worker import Worker

from jobs.luthier_error import LuthierError
from serve.chats.journal import Journal
from serve.chats.store import Record
from serve.chats.turns import REFERENCE, Answer, Complete, Failed, Speaker
from serve.client import ContextExceeded, Delta, Endpoint, Finished
from trainer.recipe_draft import RecipeDraft
from tui.chat.asking import Asking
from tui.chat.context_modal import ContextModal
from tui.chat.files import Files
from tui.chat.marking import Marking
from tui.chat.prompt_box import PromptBox
from tui.chat.replaying import Replaying
from tui.chat.sides import ChatSides
from tui.chat.speakers import Speakers
from tui.chat.versions import Versions
from tui.chat.view import T
from tui.chat.vote_modal import Judgement, VoteModal
from tui.chat.voting import Voting
from workshop.chat.replay import Replay
from workshop.chat.server import ChatServer
from workshop.chat.session import ChatSession

BASE, CAPTAIN, PIRATE = (
    Speaker("base"),
    Speaker("captain", "tuned", path="/captain"),
    Speaker("pirate", "tuned", path="/pirate"),
)
SERVER = ChatServer(Endpoint("http://127.0.0.1:1", "key"), (BASE, CAPTAIN))


class Panes(ChatSides):
    """The panes, whose questions are noted instead of sent."""

    def __init__(self, session: ChatSession) -> None:
        super().__init__(session)
        self.asked: list[int] = []

    def ask(self, conversations: Any) -> None:
        self.asked += [self._session.panes.index(conversation) for conversation in conversations]


class View:
    """Everything that is asked of a screen happens at once, or is noted."""

    def __init__(self, session: ChatSession) -> None:
        self.prompt = PromptBox(lambda text: "")
        self.sides = Panes(session)
        self.notices: list[str] = []
        self.copied = ""
        self.drafts: list[RecipeDraft] = []
        self.dialogs: list[tuple[Screen[Any], Callable[[Any], None] | None]] = []

    def show_sides(self) -> None:
        self.sides.count = len(self.sides._session.panes)

    def set_looks(self) -> None:
        pass

    def show_offered(self) -> None:
        self.show_sides()

    def refresh_bindings(self) -> None:
        pass

    def show_failure(self, error: LuthierError) -> None:
        raise error

    def notify(self, message: str, *, severity: str = "", timeout: float | None = None) -> None:
        self.notices.append(message)

    def copy(self, text: str) -> None:
        self.copied = text

    def plan_run(self, draft: RecipeDraft) -> None:
        self.drafts.append(draft)

    def open_dialog(
        self, dialog: Screen[T], answered: Callable[[T | None], None] | None = None
    ) -> None:
        self.dialogs.append((dialog, answered))

    def in_thread(
        self,
        work: Callable[[], T],
        then: Callable[[T], object],
        group: str = "",
        exclusive: bool = False,
    ) -> None:
        then(work())

    def call_later(self, callback: Callable[..., Any], *args: Any) -> bool:
        callback(*args)
        return True

    def run_worker(
        self, work: Coroutine[Any, Any, None], *, group: str, exit_on_error: bool
    ) -> Worker[None]:
        raise NotImplementedError


class Parts:
    def __init__(self) -> None:
        self.session = ChatSession(Record(Journal()))
        self.view = View(self.session)
        self.versions = Versions(self.session, self.view)
        self.replaying = Replaying(self.session, self.view)
        self.asking = Asking(self.session, self.view, self.versions, self.replaying)
        self.voting = Voting(self.session, self.view)
        self.files = Files(self.session, self.view, self.versions)
        self.marking = Marking(self.session, self.view, self.versions)
        self.speakers = Speakers(self.session, self.view, lambda: SERVER)
        self.speakers.look()

    def answer(self, *texts: str) -> list[Answer]:
        answers = [pane.answers[-1] for pane in self.session.contestants]
        for answer, text in zip(answers, texts, strict=True):
            answer.add(Delta(text))
            answer.state = Complete(Finished("stop", 3, 4, 0.1, 0.5))
            self.session.record.ended(answer)
        return answers

    def ask(self, prompt: str, *texts: str) -> list[Answer]:
        self.view.prompt.text = prompt
        self.asking.send()
        return self.answer(*texts)


@pytest.fixture
def parts() -> Iterator[Parts]:
    parts = Parts()
    yield parts
    parts.session.record.journal.close()


def test_the_servers_own_models_speak_where_nobody_did(parts: Parts) -> None:
    assert [pane.speaker for pane in parts.session.panes] == [BASE, CAPTAIN]
    parts.speakers.put(2, PIRATE, SERVER)
    assert [pane.speaker for pane in parts.session.panes] == [BASE, CAPTAIN, PIRATE]


def test_a_prompt_is_sent_to_all_and_the_box_is_empty(parts: Parts) -> None:
    parts.ask("  Hi ", "Hello", "Ahoy")
    assert (parts.view.sides.asked, parts.view.prompt.text) == ([0, 1], "")
    assert [turn.prompt for turn in parts.session.chat.turns] == ["Hi"]


def test_nothing_is_sent_while_answers_come(parts: Parts) -> None:
    parts.view.prompt.text = "Hi"
    parts.asking.send()
    parts.view.prompt.text = "And?"
    parts.asking.send()
    assert parts.view.prompt.text == "And?" and "Still answering" in parts.view.notices[0]


def test_a_prompt_that_brought_nothing_returns_to_the_box(parts: Parts) -> None:
    parts.view.prompt.text = "Hi"
    parts.asking.send()
    for pane in parts.session.panes:
        pane.answers[-1].state = Failed(LuthierError("No", "because", "try"))
    parts.asking.answers_ended()
    assert parts.view.prompt.text == "Hi"


def test_a_chat_that_is_too_long_is_asked_about_once(parts: Parts) -> None:
    parts.ask("One", "1", "I")
    parts.view.prompt.text = "Two"
    parts.asking.send()
    for pane in parts.session.panes:
        pane.answers[-1].state = Failed(ContextExceeded("too long", 10, 20))
    parts.asking.answers_ended()
    parts.asking.answers_ended()
    ((dialog, answered),) = parts.view.dialogs
    assert isinstance(dialog, ContextModal) and answered is not None
    answered("forget")
    assert parts.view.sides.asked[-2:] == [0, 1]
    assert [pane.answers[-1].skipped for pane in parts.session.panes] == [1, 1]


def test_turns_are_chosen_from_the_last_one_back(parts: Parts) -> None:
    for prompt in ("One", "Two", "Three"):
        parts.ask(prompt, "a", "b")
    prompts = []
    for step in (-1, -1, -1, 1):
        parts.versions.step(step)
        assert parts.versions.chosen_answer is not None
        prompts.append(parts.versions.chosen_answer.turn.prompt)
    assert prompts == ["Two", "One", "One", "Two"]


def test_versions_are_numbered_and_gone_through(parts: Parts) -> None:
    parts.ask("One", "a", "b")
    parts.asking.retry(parts.session.panes)
    _, again = parts.answer("c", "d")
    pane = parts.session.panes[1]
    assert parts.versions.labels(pane) == {**parts.versions.labels(pane), again.id: "2/2"}
    assert parts.versions.other(1) is None
    parts.versions.show(-1)
    assert pane.answers[-1].text == "b" and parts.versions.other(-1) is None
    assert [pane.answers[-1].text for pane in parts.session.panes] == ["c", "b"]


def test_an_answer_says_what_it_continues(parts: Parts) -> None:
    parts.ask("One", "a", "b")
    parts.versions.continue_all()
    left, right = parts.ask("Two", "c", "d")
    notes = parts.versions.notes(parts.session.panes[0])
    assert notes == {left.id: "continues from the answer of captain"}
    assert parts.versions.notes(parts.session.panes[1]) == {}
    assert right.parent is left.parent


def test_prompts_of_a_file_come_into_the_box_one_by_one(parts: Parts) -> None:
    from serve.replay import ScriptTurn

    def turn(prompt: str) -> ScriptTurn:
        return ScriptTurn(({"role": "user", "content": prompt},), reference=f"{prompt}!")

    parts.replaying.toggle()
    ((_, begin),) = parts.view.dialogs
    assert begin is not None
    begin(Replay("file", [(turn("a1"), turn("a2")), (turn("b1"),), (turn("c1"),)]))
    assert parts.session.panes[-1].speaker == REFERENCE
    assert (parts.view.prompt.text, parts.replaying.progress) == (
        "a1",
        "file: 1 of 3, turn 1 of 2",
    )
    parts.ask("a1 in other words", "x", "y")
    first_chat = parts.session.chat.id
    parts.asking.answers_ended()
    assert parts.view.prompt.text == "a2"
    parts.replaying.skip()
    assert parts.view.prompt.text == "b1"
    parts.ask("b1", "x", "y")
    assert parts.session.chat.id != first_chat
    assert parts.session.panes[-1].answers[-1].text == "b1!"
    parts.replaying.toggle()
    assert not parts.replaying.has_turn and parts.replaying.progress == ""


def test_a_vote_is_cast_before_its_reason_is_known(parts: Parts) -> None:
    parts.voting.vote()
    assert "two complete answers" in parts.view.notices[0]
    parts.ask("One", "a", "b")
    parts.voting.vote()
    ((dialog, _),) = parts.view.dialogs
    assert isinstance(dialog, VoteModal)
    dialog._cast(Judgement("better", "B"))
    (vote,) = parts.session.chat.votes.values()
    assert vote.choice == parts.session.panes[1].answers[-1].id


def test_the_names_of_a_blind_chat_are_told_once_and_hidden_in_the_next(parts: Parts) -> None:
    parts.voting.toggle_blind()
    answers = parts.ask("One", "a", "b")
    assert [parts.session.name_of(answer) for answer in answers] == ["A", "B"]
    parts.voting.toggle_blind()
    assert parts.view.notices[-1].startswith(
        ", ".join(f"{x} {answer.speaker.label}" for x, answer in zip("AB", answers, strict=True))
    )
    parts.session.clear()
    assert parts.session.chat.blind


def test_copies_are_of_all_answers_or_of_the_chosen_one(parts: Parts) -> None:
    parts.ask("One", "a", "b")
    parts.files.copy_all()
    assert parts.view.copied == "## base\n\na\n\n## captain\n\nb"
    parts.files.copy_one()
    assert parts.view.copied == "b"


def test_differences_are_against_the_active_pane(parts: Parts) -> None:
    parts.speakers.put(2, PIRATE, SERVER)
    parts.ask("One", "red sky", "red sea", "red sun")
    marks = parts.marking._differences()
    answers = [pane.answers[-1] for pane in parts.session.panes]
    assert [marks[answer.id].legend[1][0] for answer in answers] == [
        " are not in the answer of captain",
        " are not in the answer of base",
        " are not in the answer of captain",
    ]
