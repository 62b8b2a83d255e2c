"""How the answers of a chat come: a speaker is asked, what it says flows into its answer, and is
written down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from jobs.luthier_error import LuthierError
from serve.chats.store import Record
from serve.chats.turns import Answer, Complete, Failed, Speaker, Waiting
from serve.client import ChatMessage, Delta, Endpoint, Finished, Sampling

Streamer = Callable[
    [Endpoint, str, list[ChatMessage], Sampling, Sequence[dict[str, object]]],
    AsyncIterator[Delta | Finished],
]
"""Asks a model, and brings its answer in pieces."""


class AnswerStreams:
    """`asked_as` is the endpoint of a speaker and its name there; LuthierError if it cannot be
    reached."""

    def __init__(
        self,
        record: Record,
        stream: Streamer,
        asked_as: Callable[[Speaker], tuple[Endpoint, str]],
    ) -> None:
        self._record = record
        self._stream = stream
        self._asked_as = asked_as

    async def answer(self, answer: Answer, on_first: Callable[[], object]) -> None:
        """Have an answer that waits come. `on_first` is called once, with its first token."""
        await self.receive(answer, self._open(answer), on_first)

    async def _open(self, answer: Answer) -> AsyncIterator[Delta | Finished]:
        endpoint, model = self._asked_as(answer.speaker)
        turn = answer.turn
        stream = self._stream(endpoint, model, answer.context(), turn.settings.sampling, turn.tools)
        async for item in stream:
            yield item

    async def receive(
        self,
        answer: Answer,
        stream: AsyncIterator[Delta | Finished],
        on_first: Callable[[], object],
    ) -> None:
        """Let a stream flow into an answer, and write it down. Being cancelled, which happens
        within `stream` and so ends the request too, keeps what came."""
        try:
            async for item in stream:
                match item:
                    case Delta():
                        is_first = isinstance(answer.state, Waiting)
                        answer.add(item)
                        self._record.grew(answer, item.text, item.reasoning)
                        if is_first:
                            on_first()
                    case Finished():
                        answer.state = Complete(item)
        except asyncio.CancelledError:
            answer.halt()
            raise
        except LuthierError as error:
            answer.state = Failed(error)
        finally:
            self._record.ended(answer)

    def fail(self, answer: Answer, error: LuthierError) -> None:
        """An answer ended in an error that nobody foresaw: it has failed like any other."""
        answer.state = Failed(error)
        self._record.ended(answer)
