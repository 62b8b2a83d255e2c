"""The names: a binding says what its value is ("first_pass_config"), not that there is one
("found"). Counts the vague names that a package binds, and its nested conditional expressions,
against limits that can only fall. `tools/names.py PACKAGE` lists them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

# fmt: off
VAGUE = frozenset({
    "found", "place", "one", "what", "wanted", "chosen", "told", "known", "made", "shown", "own",
    "whole", "said", "same", "rest", "more", "others", "held", "seen", "named", "given", "alike",
})
# fmt: on
ROOT = Path(__file__).resolve().parent.parent
ROOM = 0.3
"""How far a package's share may fall below its limit before the limit must follow, in percent."""


@dataclass(frozen=True)
class Limit:
    vague: float
    """The largest share of vague names in a package's bindings, in percent."""

    nested: int = 0
    """The largest number of conditional expressions with another one as a branch or a test."""


LIMITS: Mapping[str, Limit] = {
    "jobs": Limit(0.2),
    "models": Limit(0.4),
    "trainer": Limit(0.1),
    "serve": Limit(0.5),
    "workshop": Limit(0.0),
    "tui": Limit(0.3),
    "bench": Limit(0.0),
    "tools": Limit(0.0),
}


@dataclass(frozen=True)
class Count:
    """What a package's files have."""

    bindings: int
    vague: tuple[str, ...]
    """`path:line: name` of each vague binding."""

    nested: tuple[str, ...]
    """`path:line` of each nested conditional expression."""

    @property
    def share(self) -> float:
        """The vague ones in percent of the bindings."""
        return 100 * len(self.vague) / max(1, self.bindings)


def bindings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of each variable, loop variable, field and parameter."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg


def nested_conditionals(tree: ast.AST) -> Iterator[int]:
    """The lines of conditional expressions that have another one as a branch or as the test."""
    for node in ast.walk(tree):
        if isinstance(node, ast.IfExp):
            parts = (node.body, node.test, node.orelse)
            if any(isinstance(part, ast.IfExp) for part in parts):
                yield node.lineno


def count(folder: Path, root: Path) -> Count:
    total = 0
    vague, nested = [], []
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        name = path.relative_to(root)
        for line, binding in bindings(tree):
            total += 1
            if binding in VAGUE:
                vague.append(f"{name}:{line}: {binding}")
        nested += [f"{name}:{line}" for line in nested_conditionals(tree)]
    return Count(total, tuple(vague), tuple(nested))


def violations(package: str, counted: Count, limit: Limit) -> Iterator[str]:
    """What is over the limits of a package, and what its limits must follow."""
    if counted.share > limit.vague:
        yield (
            f"{package}: {counted.share:.2f} % of its bindings have vague names (at most"
            f" {limit.vague} %). Name what each value is: `tools/names.py {package}` lists them."
        )
    elif counted.share < limit.vague - ROOM:
        yield (
            f"{package}: {counted.share:.2f} % of its bindings have vague names, clearly less than"
            f" {limit.vague} %. Lower its limit in tools/names.py."
        )
    if len(counted.nested) > limit.nested:
        yield (
            f"{package}: {len(counted.nested)} nested conditional expressions (at most"
            f" {limit.nested}). Make them if, match or a function:"
            f" {', '.join(counted.nested)}"
        )
    elif len(counted.nested) < limit.nested:
        yield (
            f"{package}: {len(counted.nested)} nested conditional expressions, less than"
            f" {limit.nested}. Lower its limit in tools/names.py."
        )


def main(root: Path = ROOT, limits: Mapping[str, Limit] = LIMITS) -> int:
    lines = [
        line
        for package, limit in limits.items()
        for line in violations(package, count(root / package, root), limit)
    ]
    print("\n".join(lines) if lines else "Names: all within their limits.")
    return 1 if lines else 0


def show(package: str) -> None:
    counted = count(ROOT / package, ROOT)
    print("\n".join([*counted.vague, *(f"{line}: nested" for line in counted.nested)]))


if __name__ == "__main__":
    if sys.argv[1:]:
        show(sys.argv[1])
    else:
        sys.exit(main())
