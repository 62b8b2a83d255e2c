"""The check that text leaves by its exits, and that markup is read from literals alone."""

from __future__ import annotations

import pytest

from tools.terminal_text import EXIT, violations

FORBIDDEN = {
    "an f-string as a template": 'talk.print(styled(f"[dim]{name}[/]"))',
    "a sum as a template": 'Content.from_markup("[b]" + name)',
    "a variable as a template": "Text.from_markup(text)",
    "markup that is turned on": "talk.print(text, markup=True)",
    "markup that may be on": "Static(text, markup=rich)",
    "escaped markup": "from rich.markup import escape",
    "click's own exit": "click.echo(name)",
    "a question past the exit": 'click.confirm(f"Delete {name}?")',
    "a console of its own": "talk = Console()",
    "print": "print(name)",
    "tags that nobody reads": 'talk.print(f"[green]✓[/] {name}")',
    "tags in a table": 'table.add_row("[dim]name[/]", name)',
    "a stream": "sys.stdout.buffer.write(block)",
    "an f-string in a widget": 'Static(f"[{name}]")',
    "an f-string in an update": 'line.update(f"{error.title}. {error.hint}")',
    "a parameter in a widget": "def compose(self, name: str):\n    yield Label(name)",
    "a field that a parameter filled": (
        "class A:\n def __init__(self, name: str):\n  self.n = name\n def show(self):\n "
        " Label(self.n)"
    ),
    "a local name": 'def show(name):\n    text = f"of {name}"\n    line.update(text)',
    "a frame's title": 'panel.border_title = f"at {name}"',
    "a frame's title by a condition": 'panel.border_title = f"at {name}" if name else ""',
    "a joined string": 'panel.border_subtitle = ", ".join(names)',
    "choices": "Select([(name, name) for name in names])",
    "what was tidied": "def show(text: str):\n    line.update(text.strip())",
}
ALLOWED = {
    "values by name": 'talk.print(styled("[dim]$name[/]", name=name))',
    "a literal by a condition": 'styled("[b]$a[/]" if bold else "$a", a=a)',
    "literals side by side": 'Content.from_markup("[b]$name[/]" " and more", name=name)',
    "plain text on a console": 'talk.print(f"{name} is done")',
    "markup that is off": "Static(text, markup=False)",
    "content": 'panel.border_title = Content(f"at {name}")',
    "content in a widget": 'Static(Content(f"at {name}"))',
    "our own literal": 'Static("No server is running.\\n\\n[$primary]n[/] starts one")',
    "a dictionary": "known.update(other)",
    "choices of ours": 'Select([("copied", False), ("linked", True)])',
    "choices as text": "Select([(Text(name), name) for name in names])",
    "a console that is drawn elsewhere": "Console(file=io.StringIO())",
}


@pytest.mark.parametrize("source", FORBIDDEN.values(), ids=FORBIDDEN)
def test_what_is_forbidden_is_found_once(source: str) -> None:
    assert len(list(violations(source, "tui/some.py"))) == 1


@pytest.mark.parametrize("source", ALLOWED.values(), ids=ALLOWED)
def test_what_is_allowed_is_left_alone(source: str) -> None:
    assert list(violations(source, "tui/some.py")) == []


def test_the_exit_itself_writes() -> None:
    assert list(violations("click.echo(text)\nConsole()", EXIT)) == []
