"""What reaches a terminal: text leaves the program by its exits alone, and markup is read from
literals of ours alone.

Prints what breaks that. Rich and Textual read square brackets in many a string as markup: a name in
it, such as `a[/]b`, would vanish or end the program. Names go in as values:
`styled("[dim]$name[/]", name=name)`, `Content.from_markup("[b]$name[/]", name=name)`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXIT = "tui/commands/output.py"
_TO_SHELLS = "tui/completion/shells.py"
"""What it writes is read by a shell that completes a word; to a terminal it writes nothing."""
_WRITERS = {
    "print",
    "Console",
    "click.echo",
    "click.secho",
    "click.style",
    "click.confirm",
    "click.prompt",
    "click.progressbar",
}
_PRINTERS = {"print", "add_row", "status", "say_done", "say_warning", "say_aside"}
_STREAMS = ("sys.stdout.write", "sys.stderr.write", "sys.stdout.buffer", "sys.stderr.buffer")
_MARKUP_MODULES = ("rich.markup", "textual.markup")
# What Textual gets as a string and reads as markup. Text with a type of its own (Content, Rich's
# Text) is never read as such.
_WIDGETS = {
    "Static",
    "Label",
    "Button",
    "Checkbox",
    "RadioButton",
    "Option",
    "Selection",
    "Collapsible",
    "TabPane",
}
_TITLES = {"border_title", "border_subtitle", "tooltip"}


def violations(source: str, name: str) -> Iterator[str]:
    tree = ast.parse(source, filename=name)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in _MARKUP_MODULES and name != EXIT:
            yield (
                f"{name}:{node.lineno}: imports {node.module}: values go into markup as values,"
                " nothing is escaped"
            )
        if isinstance(node, ast.Call) and name not in (EXIT, _TO_SHELLS):
            yield from _call(node, name)
    for scope, strings in _scopes(tree, set()):
        yield from (
            f"{name}:{line}: a string that is no literal would be read as markup: wrap it in"
            " Content(...)"
            for line in _read(scope, strings)
        )


def _call(call: ast.Call, name: str) -> Iterator[str]:
    function = ast.unparse(call.func)
    elsewhere = any(word.arg == "file" for word in call.keywords)
    if (function in _WRITERS and not elsewhere) or function.startswith(_STREAMS):
        yield (
            f"{name}:{call.lineno}: {function}() writes to the terminal: {EXIT} does, and cleans"
            " what it writes"
        )
    if (function == "styled" or function.endswith(".from_markup")) and not (
        call.args and _is_literal(call.args[0])
    ):
        yield (
            f"{name}:{call.lineno}: {function}() takes a literal, without interpolation; values"
            " follow by name"
        )
    if any(
        word.arg == "markup"
        and not (isinstance(word.value, ast.Constant) and word.value.value is False)
        for word in call.keywords
    ):
        yield f"{name}:{call.lineno}: markup is on: use styled() or Content.from_markup()"
    if function.rpartition(".")[2] in _PRINTERS and any(map(_has_tags, call.args)):
        yield f"{name}:{call.lineno}: {function}() prints [/] as it is: styled() reads it"


def _has_tags(node: ast.AST) -> bool:
    """Whether a string that is printed ends a style, outside what reads it."""
    if isinstance(node, ast.Call):
        return False
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and "[/" in node.value
    return any(map(_has_tags, ast.iter_child_nodes(node)))


def _is_literal(node: ast.expr) -> bool:
    if isinstance(node, ast.IfExp):
        return _is_literal(node.body) and _is_literal(node.orelse)
    return isinstance(node, ast.Constant)


def _scopes(node: ast.AST, strings: set[str]) -> Iterator[tuple[ast.AST, set[str]]]:
    """Each function and the module, with the names and attributes in it that are known to be
    strings."""
    known_strings = strings | _strings_of(node)
    if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef):
        yield node, known_strings
    for child in ast.iter_child_nodes(node):
        yield from _scopes(child, known_strings)


def _strings_of(node: ast.AST) -> set[str]:
    string_names: set[str] = set()
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        string_names = {
            parameter.arg for parameter in parameters if _says_string(parameter.annotation)
        }
        for statement in ast.walk(node):
            if isinstance(statement, ast.Assign) and _is_string(statement.value, string_names):
                string_names |= {ast.unparse(target) for target in statement.targets}
    if isinstance(node, ast.ClassDef):
        fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
        string_names = {
            f"self.{ast.unparse(field.target)}"
            for field in fields
            if _says_string(field.annotation)
        }
        for method in node.body:
            if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                string_names |= {text for text in _strings_of(method) if text.startswith("self.")}
    return string_names


def _says_string(annotation: ast.expr | None) -> bool:
    return annotation is not None and ast.unparse(annotation) in (
        "str",
        "str | None",
        "ClassVar[str]",
    )


def _is_string(node: ast.expr, strings: set[str]) -> bool:
    """Whether this is surely a string that is not all our own."""
    match node:
        case ast.JoinedStr():
            return True
        case ast.Name() | ast.Attribute():
            return ast.unparse(node) in strings
        case ast.BinOp():
            return _is_string(node.left, strings) or _is_string(node.right, strings)
        case ast.IfExp():
            return _is_string(node.body, strings) or _is_string(node.orelse, strings)
        case ast.Call(func=ast.Name(id="str" | "repr" | "visible" | "one_line")):
            return True
        case ast.Call(
            func=ast.Attribute(value=value, attr="format" | "join" | "strip" | "replace")
        ):
            return isinstance(value, ast.Constant) or _is_string(value, strings)
        case _:
            return False


def _read(scope: ast.AST, strings: set[str]) -> Iterator[int]:
    """The lines on which Textual is given a string as markup, of this function alone."""
    for node in _own(scope):
        match node:
            case ast.Assign(targets=[ast.Attribute(attr=attribute)], value=title) if (
                attribute in _TITLES and _is_string(title, strings)
            ):
                yield node.lineno
            case ast.Call() if _is_read(node) and any(
                _is_string(text, strings) for text in node.args[:1]
            ):
                yield node.lineno
            case ast.Call(func=ast.Name(id="Select")) if any(
                isinstance(text, ast.JoinedStr | ast.Name) for text in _choices(node)
            ):
                yield node.lineno


def _is_read(call: ast.Call) -> bool:
    if any(word.arg == "markup" for word in call.keywords):  # off, or a violation by itself
        return False
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in _WIDGETS | {"update"}
        case _:
            return False


def _choices(select: ast.Call) -> list[ast.expr]:
    """The words of a Select's choices, where they are listed in its call."""
    lists = [argument for argument in select.args if isinstance(argument, ast.List | ast.ListComp)]
    pairs = [
        node
        for choices in lists
        for node in ast.walk(choices)
        if isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Load)
    ]
    return [pair.elts[0] for pair in pairs]


def _own(scope: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(scope):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from _own(child)


def main(root: Path = ROOT) -> int:
    findings = [
        line
        for path in sorted((root / "tui").rglob("*.py"))
        for line in violations(path.read_text(encoding="utf-8"), str(path.relative_to(root)))
    ]
    print("\n".join(findings) if findings else "Text on terminals: all by its exits.")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
