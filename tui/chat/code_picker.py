"""The blocks of code of an answer, and which one is meant where there are several."""

from __future__ import annotations

from dataclasses import dataclass

from textual.content import Content
from textual.widgets import OptionList

from tui.shared.pick_modal import Pick, PickModal


@dataclass(frozen=True)
class CodeBlock:
    language: str
    text: str


def code_blocks(markdown: str) -> list[CodeBlock]:
    """As Markdown reads them: fenced ones and indented ones, without their fences."""
    from markdown_it import MarkdownIt

    return [
        CodeBlock(token.info.strip().partition(" ")[0], token.content.rstrip("\n"))
        for token in MarkdownIt("commonmark").parse(markdown)
        if token.type in ("fence", "code_block")
    ]


class CodePicker(PickModal[CodeBlock, CodeBlock]):
    heading = "Copy which code?"

    def __init__(self, blocks: list[CodeBlock]) -> None:
        super().__init__()
        self._blocks = blocks

    def on_mount(self) -> None:
        self.set_picks([_pick(block) for block in self._blocks])
        self.query_one(OptionList).highlighted = len(self._blocks) - 1

    def take(self) -> None:
        if self.highlighted is not None:
            self.dismiss(self.highlighted.value)


def _pick(block: CodeBlock) -> Pick[CodeBlock]:
    lines = block.text.splitlines() or [""]
    size = f"{len(lines)} line{'' if len(lines) == 1 else 's'}"
    line = Content.assemble(
        (f"{block.language:<10} ", "$secondary"),
        (f"{size:>9}  ", "$foreground-muted"),
        lines[0].strip(),
    )
    return Pick(block, line, block.text)
