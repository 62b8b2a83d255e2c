"""Going through prompts that were written before: which one is next."""

from __future__ import annotations

from dataclasses import dataclass, replace

from serve.replay import Script, ScriptTurn


@dataclass
class Replay:
    """A file of prompts, and how far it was gone through."""

    name: str
    """Where the prompts come from."""
    scripts: list[Script]
    position: int = 0
    """The index of the conversation that is next or at work."""
    turn: int = 0
    """The index of its turn that is next."""

    @property
    def next_turn(self) -> ScriptTurn | None:
        """What is asked next; None after the last one."""
        if self.position == len(self.scripts):
            return None
        return self.scripts[self.position][self.turn]

    @property
    def begins(self) -> bool:
        """Whether the next turn is the first of its conversation."""
        return self.turn == 0

    @property
    def progress(self) -> str:
        """ "3 of 20", with the turn where a conversation has several."""
        if self.next_turn is None:
            return f"{len(self.scripts)} of {len(self.scripts)} done"
        turns = len(self.scripts[self.position])
        return f"{self.position + 1} of {len(self.scripts)}" + (
            f", turn {self.turn + 1} of {turns}" if turns > 1 else ""
        )

    def take(self, prompt: str) -> ScriptTurn:
        """The next turn, in the words that the prompt box has now, and on to the one after it."""
        script = self.next_turn
        assert script is not None
        last = {**script.messages[-1], "content": prompt}
        self.turn += 1
        if self.turn == len(self.scripts[self.position]):
            self.skip(1)
        return replace(script, messages=(*script.messages[:-1], last))

    def skip(self, conversations: int) -> None:
        """To the beginning of another conversation."""
        self.position = max(0, min(len(self.scripts), self.position + conversations))
        self.turn = 0
