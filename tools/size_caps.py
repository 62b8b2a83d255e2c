"""The size caps: a file holds one idea. Prints what is over them; no comment in the code can
silence it, and a class that is spread over its bases counts as one."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

MAX_FILE_LINES = 600
MAX_CLASS_METHODS = 30
MAX_CLASS_METHODS_WITH_INHERITED = 60
MAX_FUNCTION_LINES = 80

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("jobs", "models", "trainer", "serve", "workshop", "tui", "tools", "bench")
FILES_ONLY = ("tests",)  # a test may tell a long story, but not in an endless file

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """A file of the project, read once."""

    name: str
    """Its path below the root."""
    text: str

    @property
    def module(self) -> str:
        """The name by which it is imported."""
        return self.name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, filename=self.name)


@dataclass(frozen=True)
class Class:
    """A class of the project. Its bases are names of modules and what is in them, whoever they
    belong to."""

    source: str
    line: int
    name: str
    methods: frozenset[str]
    bases: tuple[str, ...]


def classes(sources: Sequence[Source]) -> dict[str, Class]:
    """Every class by its full name, and by each name under which a module imports it."""
    aliases: dict[str, str] = {}
    defined: dict[str, Class] = {}
    for source in sources:
        imports = _imports(source)
        aliases |= {f"{source.module}.{name}": target for name, target in imports.items()}
        nodes = dict(_class_nodes(source.tree, source.module))
        for path, node in nodes.items():
            names = frozenset(item.name for item in node.body if isinstance(item, _Function))
            scope = {**imports, **_neighbours(path, nodes, source.module)}
            bases = tuple(_full_name(base, scope) for base in node.bases)
            defined[path] = Class(source.name, node.lineno, node.name, names, bases)
    resolved = {alias: _followed(target, aliases) for alias, target in aliases.items()}
    imported = {alias: defined[target] for alias, target in resolved.items() if target in defined}
    return {**imported, **defined}


def _imports(source: Source) -> dict[str, str]:
    """What each imported name of a file stands for, wherever in the file it is imported."""
    imports: dict[str, str] = {}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                imports[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            package = node.module or ""
            if node.level:
                parts = source.module.split(".")
                is_package = source.name.endswith("__init__.py")
                above = parts[: len(parts) - node.level + is_package]
                package = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                imports[alias.asname or alias.name] = f"{package}.{alias.name}"
    return imports


def _class_nodes(tree: ast.AST, path: str) -> Iterator[tuple[str, ast.ClassDef]]:
    """Every class with its full name, also one that a class, function or condition holds."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield f"{path}.{node.name}", node
            yield from _class_nodes(node, f"{path}.{node.name}")
        elif isinstance(node, _Function):
            yield from _class_nodes(node, f"{path}.{node.name}")
        else:
            yield from _class_nodes(node, path)


def _neighbours(path: str, paths: Iterable[str], module: str) -> dict[str, str]:
    """The classes of its module that one can name: those at the top, and those beside it."""
    scopes = (module, path.rpartition(".")[0])
    near = [other for other in paths if other.rpartition(".")[0] in scopes and other != path]
    return {other.rpartition(".")[2]: other for other in sorted(near, key=len)}


def _full_name(base: ast.expr, scope: dict[str, str]) -> str:
    """What a base stands for: `Pick[A]`, `forms.Pick` or `Pick`."""
    if isinstance(base, ast.Subscript):
        base = base.value
    first, *attributes = ast.unparse(base).split(".")
    return ".".join([scope.get(first, first), *attributes])


def _followed(name: str, aliases: dict[str, str]) -> str:
    """What a name stands for that a module has imported from another one."""
    visited = {name}
    while (target := aliases.get(name)) is not None and target not in visited:
        visited.add(target)
        name = target
    return name


def all_methods(cls: Class, by_name: dict[str, Class]) -> frozenset[str]:
    """The methods of a class, with those that it inherits from classes of the project. One that is
    overridden is one method."""
    methods, visited, waiting = cls.methods, {cls}, [cls]
    while waiting:
        for base in waiting.pop().bases:
            parent = by_name.get(base)
            if parent is not None and parent not in visited:
                visited.add(parent)
                waiting.append(parent)
                methods |= parent.methods
    return methods


def file_violations(source: Source) -> Iterator[str]:
    lines = source.text.count("\n")
    if lines > MAX_FILE_LINES:
        yield f"{source.name}: {lines} lines (at most {MAX_FILE_LINES})"


def function_violations(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, _Function):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield (
                    f"{source.name}:{node.lineno}: {node.name}() has {length} lines (at most"
                    f" {MAX_FUNCTION_LINES})"
                )


def class_violations(sources: Sequence[Source]) -> Iterator[str]:
    by_name = classes(sources)
    for cls in dict.fromkeys(by_name.values()):
        where = f"{cls.source}:{cls.line}: class {cls.name} has"
        count = len(all_methods(cls, by_name))
        if len(cls.methods) > MAX_CLASS_METHODS:
            yield (
                f"{where} {len(cls.methods)} methods (at most {MAX_CLASS_METHODS}, private ones"
                " too)"
            )
        if count > MAX_CLASS_METHODS_WITH_INHERITED:
            yield (
                f"{where} {count} methods with those of its bases (at most"
                f" {MAX_CLASS_METHODS_WITH_INHERITED})"
            )


def read(root: Path, packages: Iterable[str]) -> list[Source]:
    return [
        Source(str(path.relative_to(root)), path.read_text(encoding="utf-8"))
        for package in packages
        for path in sorted((root / package).rglob("*.py"))
    ]


def main(root: Path = ROOT) -> int:
    code, tests = read(root, PACKAGES), read(root, FILES_ONLY)
    violations = [line for source in [*code, *tests] for line in file_violations(source)]
    violations += [line for source in code for line in function_violations(source)]
    violations += class_violations(code)
    print("\n".join(violations) if violations else "Size caps: all within.")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
