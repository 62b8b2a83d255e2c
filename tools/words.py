"""The words: texts that people read are plain English. Counts phrases that docs/style.md bans, in
string literals of the product and in the pages of docs/, against limits that can only fall.
`tools/words.py PACKAGE` lists them."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BANNED = {
    "anew": r"\banew\b",
    "passive of to tell": r"\b(?:is|are|was|were|be|been|being) told\b|\btold (?:by|from|of|in)\b",
    "tells": r"\btells?\b(?! (?:apart|you)\b)",
    "what is ... stands": r"\bwhat (?:is|was)\b[^.,;:]* (?:stands|lies)\b",
    "stands": r"\bstands?\b(?! for|-)",
    "goes on": r"\b(?:goes|go|going) on (?:from|where|with|exactly|by|all)\b|\bgoes on[.,;:]",
    "is none of": r"\b(?:is|are) none (?:of|for)\b|\bwhich is none\b",
    "is no ...": r"(?<!there )\bis no (?!longer\b|more\b|better\b|less\b|faster\b)"
    r"(?!signature\b|protection\b|merit\b)\w",
    "say, for an example": r", say(?:[.,;:)])",
    "so many": r"\b(?:after|at most|at least|every) so (?:many|much)\b",
    "what is there": r"\bwhat is there\b|\bthat there (?:is|are)\b",
    "what has come": r"\bwhat (?:has come|came)\b",
    "another one of": r"\bis another one\b",
    "begins again": r"\bbegins? again\b",
}
_PATTERNS = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in BANNED.items()}
SOURCES = ("jobs", "models", "trainer", "serve", "workshop", "tui")
NOT_PROSE = re.compile(r"```.*?```|`[^`\n]*`|<!--.*?-->", re.DOTALL)
ABOUT_WORDS = ("style.md",)  # the page that lists what to avoid

ROOM = 5
"""How far a count may fall below its limit before the limit must follow."""
LIMITS: Mapping[str, int] = {
    "jobs": 0,
    "models": 2,  # a tool's description, as a model's author may write it
    "trainer": 0,
    "serve": 3,
    "workshop": 0,
    "tui": 8,
    "docs": 0,
}


@dataclass(frozen=True)
class Hit:
    where: str
    """Path and line."""
    phrase: str
    text: str


def literals(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of the literals that are no docstring, and of commands' docstrings, which are
    their help. An f-string's values count as a gap."""
    helps = {id(text) for text in _docstrings(tree, of_commands=True)}
    docstrings = {id(text) for text in _docstrings(tree, of_commands=False)} - helps
    inside = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in node.values
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)
            yield node.lineno, "".join(map(str, parts))
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docstrings | inside
        ):
            yield node.lineno, node.value


def _docstrings(tree: ast.AST, *, of_commands: bool) -> Iterator[ast.Constant]:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        decorators = [ast.unparse(each) for each in getattr(node, "decorator_list", [])]
        is_command = any(".command(" in each or "click.group" in each for each in decorators)
        for entry in body[:1] if of_commands else body:
            match entry:
                case ast.Expr(value=ast.Constant(value=str()) as text):
                    if is_command or not of_commands:
                        yield text
                case _:
                    pass


def hits_in_source(path: Path, root: Path) -> Iterator[Hit]:
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    for line, text in literals(tree):
        if " " in text:
            yield from _hits(f"{path.relative_to(root)}:{line}", text)


def hits_in_page(path: Path, root: Path) -> Iterator[Hit]:
    prose = NOT_PROSE.sub(lambda code: "\n" * code[0].count("\n"), path.read_text(encoding="utf-8"))
    for number, line in enumerate(prose.splitlines(), 1):
        yield from _hits(f"{path.relative_to(root)}:{number}", line)


def _hits(where: str, text: str) -> Iterator[Hit]:
    for phrase, pattern in _PATTERNS.items():
        for match in pattern.finditer(text):
            around = text[max(0, match.start() - 30) : match.end() + 30]
            yield Hit(where, phrase, " ".join(around.split()).replace("\0", "…"))


def hits(part: str, root: Path = ROOT) -> list[Hit]:
    """Of a package, or of the pages for people: "docs" with those beside it."""
    if part == "docs":
        pages = [*sorted(root.glob("*.md")), *sorted((root / "docs").glob("*.md"))]
        return [
            hit
            for page in pages
            if page.name not in ABOUT_WORDS
            for hit in hits_in_page(page, root)
        ]
    return [
        hit for path in sorted((root / part).rglob("*.py")) for hit in hits_in_source(path, root)
    ]


def violations(limits: Mapping[str, int], root: Path = ROOT) -> Iterator[str]:
    for part, limit in limits.items():
        count = len(hits(part, root))
        if count > limit:
            yield (
                f"{part}: {count} phrases that docs/style.md bans (at most {limit})."
                f" `tools/words.py {part}` lists them."
            )
        elif count < limit - ROOM:
            yield f"{part}: {count} such phrases, less than {limit}. Lower its limit."


def main(limits: Mapping[str, int] = LIMITS, root: Path = ROOT) -> int:
    lines = list(violations(limits, root))
    print("\n".join(lines) if lines else "Words: all within their limits.")
    return 1 if lines else 0


def show(part: str) -> None:
    for hit in hits(part):
        print(f"{hit.where}: {hit.phrase}: {hit.text}")


if __name__ == "__main__":
    if sys.argv[1:]:
        show(sys.argv[1])
    else:
        sys.exit(main())
