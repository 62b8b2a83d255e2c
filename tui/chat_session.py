"""A side-by-side conversation: what was asked, what each side answered, what is sent next. Knows nothing of the screen."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field, replace

from jobs.errors import LuthierError
from serve.client import ChatMessage, Delta, Endpoint, Finished, Sampling

Streamer = Callable[[Endpoint, str, list[ChatMessage], Sampling], AsyncIterator[Delta | Finished]]


@dataclass(frozen=True)
class Waiting:
    """Sent; nothing has come back yet."""

    since: float


@dataclass(frozen=True)
class Writing:
    since: float
    first_token: float


@dataclass(frozen=True)
class Complete:
    figures: Finished


@dataclass(frozen=True)
class Halted:
    """Stopped by the user. What had come stays, and is part of the conversation."""

    time_to_first_token: float | None
    seconds: float


@dataclass(frozen=True)
class Failed:
    error: LuthierError


AnswerState = Waiting | Writing | Complete | Halted | Failed


@dataclass(frozen=True)
class ChatSettings:
    """What both sides share. With `sampling.seed` None a seed is drawn for each turn, the same for both sides."""

    system: str = ""
    sampling: Sampling = field(default_factory=Sampling)


@dataclass
class Turn:
    """One prompt and one model's answer to it. Both sides of a comparison have the same `id`."""

    id: int
    prompt: str
    model: str
    settings: ChatSettings
    state: AnswerState
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def answering(self) -> bool:
        return isinstance(self.state, Waiting | Writing)

    @property
    def answered(self) -> bool:
        """Whether the turn is part of the conversation from now on. One that brought nothing makes way for the next."""
        return isinstance(self.state, Complete) or bool(self.pieces)

    def add(self, text: str) -> None:
        if not text:
            return
        if isinstance(self.state, Waiting):
            self.state = Writing(self.state.since, time.monotonic())
        self.pieces.append(text)

    def halt(self) -> None:
        match self.state:
            case Waiting(since):
                self.state = Halted(None, time.monotonic() - since)
            case Writing(since, first_token):
                self.state = Halted(first_token - since, time.monotonic() - since)
            case Complete() | Halted() | Failed():
                pass


class Conversation:
    """One side: a model and its own history."""

    def __init__(self, model: str = "") -> None:
        self.model = model
        self.turns: list[Turn] = []

    @property
    def last(self) -> Turn | None:
        return self.turns[-1] if self.turns else None

    @property
    def answering(self) -> bool:
        return self.last is not None and self.last.answering

    def begin(self, turn_id: int, prompt: str, settings: ChatSettings) -> Turn:
        if self.last is not None and not self.last.answered:
            self.turns.pop()
        turn = Turn(turn_id, prompt, self.model, settings, Waiting(time.monotonic()))
        self.turns.append(turn)
        return turn

    def messages(self) -> list[ChatMessage]:
        """What is sent to have the last turn answered."""
        turn = self.turns[-1]
        messages: list[ChatMessage] = [{"role": "system", "content": turn.settings.system}] if turn.settings.system else []
        for earlier in self.turns[:-1]:
            messages += [{"role": "user", "content": earlier.prompt}, {"role": "assistant", "content": earlier.text}]
        return [*messages, {"role": "user", "content": turn.prompt}]


class ChatSession:
    """Two conversations that are asked the same things."""

    def __init__(self, draw_seed: Callable[[], int] = lambda: random.SystemRandom().randrange(2**31)) -> None:
        self.sides = (Conversation(), Conversation())
        self.settings = ChatSettings()
        self._earlier: tuple[Conversation, Conversation] | None = None
        self._draw_seed = draw_seed
        self._turn_id = 0

    @property
    def answering(self) -> bool:
        return any(side.answering for side in self.sides)

    @property
    def empty(self) -> bool:
        return not any(side.turns for side in self.sides)

    @property
    def can_clear(self) -> bool:
        return not self.answering and not (self.empty and self._earlier is None)

    def send(self, prompt: str) -> None:
        """Ask both sides."""
        self._turn_id += 1
        settings = self._seeded(None)
        for side in self.sides:
            side.begin(self._turn_id, prompt, settings)

    def retry(self, sides: Iterable[Conversation]) -> list[Conversation]:
        """Ask the last question of these sides again, with the settings of now. Returns those that had one.

        An answer that was complete gets a new seed, or it would come out the same; the same new one on every side. One that failed or
        was stopped keeps its seed, so that it still compares with the other side.
        """
        asked = [(side, side.turns.pop()) for side in sides if side.turns]
        kept = None if any(isinstance(turn.state, Complete) for _, turn in asked) else next((turn.settings for _, turn in asked), None)
        settings = self._seeded(kept)
        for side, turn in asked:
            side.begin(turn.id, turn.prompt, settings)
        return [side for side, _ in asked]

    def clear(self) -> None:
        """A new chat with the same models and settings. From one that is still empty: back to the one before."""
        if not self.empty:
            self._earlier = self.sides
            self.sides = (Conversation(self.sides[0].model), Conversation(self.sides[1].model))
        elif self._earlier is not None:
            self.sides, self._earlier = self._earlier, None

    def _seeded(self, earlier: ChatSettings | None) -> ChatSettings:
        seed = self.settings.sampling.seed
        if seed is None:
            seed = earlier.sampling.seed if earlier else self._draw_seed()
        return replace(self.settings, sampling=replace(self.settings.sampling, seed=seed))


async def receive(turn: Turn, answer: AsyncIterator[Delta | Finished], on_first_text: Callable[[], object]) -> None:
    """Let an answer flow into its turn. Being cancelled, which happens within `answer` and so ends the request too, keeps what came."""
    try:
        async for item in answer:
            match item:
                case Delta(text=text):
                    waited = isinstance(turn.state, Waiting)
                    turn.add(text)
                    if waited and turn.pieces:
                        on_first_text()
                case Finished():
                    turn.state = Complete(item)
    except asyncio.CancelledError:
        turn.halt()
        raise
    except LuthierError as error:
        turn.state = Failed(error)
