"""The rows of one answer: the prompt, what the model thought (folded), what it said, what it called
(folded), and how that came."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from serve.chats.formatting import figures
from serve.chats.turns import Answer, Failed, Given, Waiting, Writing
from tui.chat.answer import FlowingText, flowing, wrap
from tui.chat.markdown import markdown_rows
from tui.chat.marks import Mark, Marked
from tui.chat.text import call_line, dotted_rows, thought_line
from tui.chat.thinking import Thinking, split_thinking
from tui.key_bindings import key_of
from tui.shared.glyphs import glyphs

Styles = Mapping[str, Style]

_MARKDOWN_STYLES = {
    "none": "text",
    "markdown.h1": "heading",
    "markdown.h2": "heading",
    "markdown.h3": "heading",
    "markdown.h4": "heading",
    "markdown.h5": "heading",
    "markdown.h6": "heading",
    "markdown.code": "code",
    "markdown.code_block": "code-block",
    "markdown.item.bullet": "mark",
    "markdown.item.number": "mark",
    "markdown.hr": "faint",
    "markdown.block_quote": "faint",
    "markdown.link": "link",
    "markdown.link_url": "faint",
    "markdown.table.border": "faint",
    "markdown.table.header": "heading",
}


@dataclass
class Look:
    """How a pane's answers are drawn."""

    hidden: bool = False
    """Figures are kept back, which could tell who it was."""
    unfolded: bool = False
    """Reasoning and tool calls are shown."""
    chosen_turn: str = ""
    """The id of the turn that the user has chosen."""
    marked: dict[str, Marked] = field(default_factory=dict)
    """By id of the answer: what is drawn over it."""
    notes: dict[str, str] = field(default_factory=dict)
    """By id of the answer: what stands above it."""
    versions: dict[str, str] = field(default_factory=dict)
    """By id of the answer: which one of several it is, such as "2/3"."""


class AnswerRows:
    """At one width. Streaming adds rows to the end and touches nothing else."""

    def __init__(
        self, answer: Answer, width: int, styles: Styles, code_theme: str, look: Look
    ) -> None:
        self.answer = answer
        self.width = width
        self._styles = styles
        self._code_theme = code_theme
        self._look = look
        self._taken = 0
        self._thinking = Thinking()
        self._flowing = FlowingText(width)
        self._prompt = self._prompt_rows()
        self._above: list[Strip] = []
        self._body: list[Strip] = []
        self._below: list[Strip] = []
        self._finished = False
        self.advance()

    def __len__(self) -> int:
        return len(self._prompt) + len(self._above) + len(self._body) + len(self._below)

    def row(self, index: int) -> Strip:
        for part in (self._prompt, self._above, self._body, self._below):
            if index < len(part):
                return part[index]
            index -= len(part)
        raise IndexError(index)

    def advance(self) -> int | None:
        """Take what has come since. Returns the first row that may have changed, None if nothing
        has."""
        if self._finished:
            return None
        first = len(self._prompt)
        if not self.answer.answering:
            self._finished = True
            thoughts, text = split_thinking(self.answer.text)
            self._above = self._thought_rows(
                "".join(self.answer.reasoning) + thoughts, open_ended=False
            )
            self._body = self._final_rows(text)
        elif len(self.answer.pieces) > self._taken:
            pieces = self.answer.pieces[self._taken :]
            self._taken += len(pieces)
            text = self._thinking.take("".join(pieces))
            if text:
                changed = self._flowing.append(text)
                first += len(self._above) + min(changed, len(self._body))
                self._body[changed:] = [
                    self._strip(row, "text") for row in self._flowing.rows[changed:]
                ]
        if self.answer.answering and (self.answer.reasoning or self._thinking.thoughts):
            thoughts = "".join(self.answer.reasoning) + self._thinking.thoughts
            self._above = self._thought_rows(thoughts, open_ended=not self._body)
            first = len(self._prompt)
        self._below = self._rows_below()
        return first

    # Parts

    def _prompt_rows(self) -> list[Strip]:
        rows = []
        if note := self._look.notes.get(self.answer.id):
            rows += [*self._paragraph(note, "faint"), self._strip("", "text")]
        flowing = FlowingText(self.width - 2)
        flowing.append(self.answer.turn.prompt)
        is_chosen = self._look.chosen_turn == self.answer.turn.id
        bar = Segment(
            (glyphs().selected if is_chosen else glyphs().cursor) + " ", self._styles["prompt-bar"]
        )
        style = self._styles["prompt"]
        rows += [
            Strip([bar, Segment(row.ljust(1), style)]).extend_cell_length(self.width, style)
            for row in flowing.rows
        ]
        return [*rows, self._strip("", "text")]

    def _thought_rows(self, thoughts: str, open_ended: bool) -> list[Strip]:
        if not thoughts.strip():
            return []
        rows = [
            self._strip(row, "faint")
            for row in wrap(thought_line(thoughts, open_ended, self._look.unfolded), self.width)
        ]
        if self._look.unfolded:
            rows += self._indented(thoughts)
        return [*rows, self._strip("", "text")]

    def _final_rows(self, text: str) -> list[Strip]:
        marked = self._look.marked.get(self.answer.id)
        if marked is not None:
            return [
                *self._marked_rows(marked.pieces),
                self._strip("", "text"),
                *self._marked_rows(marked.legend),
            ]
        if not text.strip():
            return []
        styles = {name: self._styles[ours] for name, ours in _MARKDOWN_STYLES.items()}
        return [Strip(row) for row in markdown_rows(text, self.width, styles, self._code_theme)]

    def _marked_rows(self, pieces: tuple[tuple[str, Mark], ...]) -> list[Strip]:
        """Plain text, wrapped as it streamed, each row cut where the marks change."""
        spans = [(flowing(text), mark) for text, mark in pieces]
        marks = [mark for text, mark in spans for _ in text]
        rows, position = [], 0
        for paragraph in "".join(text for text, _ in spans).split("\n"):
            for row in wrap(paragraph, self.width):
                # a space that hangs over the edge has no mark
                segments, start, drawn = [], 0, len(row.rstrip())
                for end in range(1, drawn + 1):
                    if end == drawn or marks[position + end] != marks[position + start]:
                        segments.append(
                            Segment(
                                row[start:end],
                                self._styles[
                                    "text"
                                    if marks[position + start] == "plain"
                                    else marks[position + start]
                                ],
                            )
                        )
                        start = end
                rows.append(Strip(segments))
                position += len(row)
            position += 1
        return rows

    def _rows_below(self) -> list[Strip]:
        dots = glyphs().ellipsis
        calls = self._call_rows()
        match self.answer.state:
            case Waiting(since):
                waited = time.monotonic() - since
                return self._paragraph(
                    f"waiting for the first token{dots}"
                    + (f" {waited:.0f} s" if waited >= 1 else ""),
                    "faint",
                )
            case Writing():
                return calls
            case Failed(error):
                rows = [*calls, self._strip("", "text")] if self._body or calls else []
                if self._look.hidden:  # the words of a server name its models
                    return [
                        *rows,
                        *self._paragraph(f"{glyphs().failed} This answer failed.", "error"),
                        self._strip("", "text"),
                    ]
                rows += self._paragraph(f"{glyphs().failed} {error.title}", "error")
                rows += self._paragraph(error.message, "text")
                ways = (("retry", "asks again"), ("settings", "settings"), ("clear", "new chat"))
                again = dotted_rows(
                    [
                        *self._version(),
                        *(f"{key_of(f'chat.{name}')} {purpose}" for name, purpose in ways),
                    ],
                    self.width,
                )
                return [
                    *rows,
                    *self._paragraph("\n".join([error.hint, *again]), "faint"),
                    self._strip("", "text"),
                ]
            case _:
                gap = [self._strip("", "text")] if self._body else []
                how_it_came = (
                    figures(self.answer)
                    if not self._look.hidden or isinstance(self.answer.state, Given)
                    else []
                )
                return [
                    *gap,
                    *calls,
                    *([self._strip("", "text")] if calls else []),
                    *(
                        self._strip(row, "faint")
                        for row in dotted_rows([*self._version(), *how_it_came], self.width)
                    ),
                    self._strip("", "text"),
                ]

    def _version(self) -> list[str]:
        """Which version it is of how many, between the keys that go to the others."""
        version = self._look.versions.get(self.answer.id)
        return (
            [f"{key_of('chat.previous_version')} {version} {key_of('chat.next_version')}"]
            if version
            else []
        )

    def _call_rows(self) -> list[Strip]:
        rows: list[Strip] = []
        for call in self.answer.calls:
            rows += [
                self._strip(row, "mark")
                for row in wrap(call_line(call, self._look.unfolded), self.width)
            ]
            if self._look.unfolded:
                rows += self._indented(call.arguments)
        return rows

    def _indented(self, text: str) -> list[Strip]:
        flowing = FlowingText(self.width - 2)
        flowing.append(text.strip())
        return [self._strip(f"  {row}", "faint") for row in flowing.rows]

    def _paragraph(self, text: str, style: str) -> list[Strip]:
        return [
            self._strip(row, style)
            for line in flowing(text).splitlines()
            for row in wrap(line, self.width)
        ]

    def _strip(self, text: str, style: str) -> Strip:
        return Strip([Segment(text, self._styles[style])])
