"""The exit statuses of the command line. docs/scripting.md lists them from here."""

from __future__ import annotations

from enum import IntEnum


class ExitStatus(IntEnum):
    DONE = 0
    FAILED = 1
    WRONG_USAGE = 2
    INTERRUPTED = 130


MEANINGS = {
    ExitStatus.DONE: "Done.",
    ExitStatus.FAILED: "Luthier could not do it; the reason is on stderr. Also: `luthier certify`,"
    " `guard`, `recites`, `drift` or `reproduce` had a red result, `luthier verify` refuted a"
    " claim, `luthier doctor` found that something necessary is missing, or `luthier data check`"
    " found data that no run would start on.",
    ExitStatus.WRONG_USAGE: "Wrong usage: an unknown command or option, or a missing argument.",
    ExitStatus.INTERRUPTED: "Interrupted with Ctrl-C. Jobs keep running.",
}
