"""A finished answer's Markdown as rows of segments: drawn once, no widget for each block."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import ClassVar

from markdown_it import MarkdownIt
from rich import box, markdown
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.segment import Segment
from rich.style import Style
from rich.syntax import Syntax
from rich.table import Table
from rich.theme import Theme

from tui.chat.answer import FlowingText, flowing

# Every level of a quotation or list takes some cells of the row; deeper than the row is wide, it is
# shown as it came.
_MOST_NESTING = 6
_NARROWEST = 24


class _Heading(markdown.Heading):
    LEVEL_ALIGN: ClassVar[dict[str, JustifyMethod]] = {}  # everything to the left


class _CodeBlock(markdown.CodeBlock):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        background = console.get_style("markdown.code_block").bgcolor
        yield Syntax(
            str(self.text).rstrip(),
            self.lexer_name,
            theme=self.theme,
            word_wrap=True,
            padding=(0, 1),
            background_color=background.name if background else None,
        )


class _Rule(markdown.HorizontalRule):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Segment("─" * options.max_width, console.get_style("markdown.hr"))
        yield Segment.line()


class _Table(markdown.TableElement):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for table in super().__rich_console__(console, options):
            if isinstance(table, Table):
                table.box, table.show_edge = box.SIMPLE_HEAD, False
            yield table


class _Markdown(markdown.Markdown):
    elements = markdown.Markdown.elements | {
        "heading_open": _Heading,
        "fence": _CodeBlock,
        "code_block": _CodeBlock,
        "hr": _Rule,
        "table_open": _Table,
    }

    def __init__(self, text: str, code_theme: str) -> None:
        super().__init__("", code_theme=code_theme, hyperlinks=False)
        # Whatever the model wrote must be seen: HTML stays text (<think> too), an image stays its
        # source, a line break stays one.
        parser = (
            MarkdownIt("commonmark", {"html": False, "maxNesting": 60})
            .enable(["strikethrough", "table"])
            .disable("image")
        )
        self.parsed = parser.parse(text)
        for block in self.parsed:
            for token in block.children or []:
                token.content = flowing(token.content)  # "&#x202e;" has become a character by now
                if token.type == "softbreak":
                    token.type = "hardbreak"

    @property
    def nesting(self) -> int:
        return max((token.level for token in self.parsed), default=0) // 2


def markdown_rows(
    text: str, width: int, styles: Mapping[str, Style], code_theme: str
) -> list[list[Segment]]:
    """Rows for a text of Markdown. `styles` are Rich's names (`markdown.h1`, ...), "none" being
    that of plain text."""
    document = _Markdown(flowing(text), code_theme)
    if width < _NARROWEST or document.nesting > _MOST_NESTING:
        plain = FlowingText(width)
        plain.append(text)
        return [[Segment(row, styles["none"])] for row in plain.rows]
    theme = Theme(dict(styles))
    console = Console(
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        width=width,
        theme=theme,
        legacy_windows=False,
    )
    rows = console.render_lines(document, console.options, style=styles["none"], pad=False)
    while rows and not any(segment.text.strip() for segment in rows[-1]):
        rows.pop()
    while rows and not any(segment.text.strip() for segment in rows[0]):
        rows.pop(0)
    return rows
