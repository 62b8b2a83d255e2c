"""The user's own editor, in front of the app."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

import pytest

from tui.shared.editor import edited


class Terminal:
    """All that is needed of an app: it has a terminal to hand over."""

    def suspend(self) -> AbstractContextManager[None]:
        return nullcontext()


def test_an_interrupt_in_the_editor_does_not_end_the_app(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal sends ctrl-C to both."""
    program = tmp_path / "editor"
    program.write_text(f'#!/bin/sh\nkill -INT {os.getpid()}\nsleep 0.2\necho saved > "$1"\n')
    program.chmod(0o755)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", str(program))
    assert edited(cast(Any, Terminal()), "before") == "saved"
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), 2)
