"""The app behind one browser tab: `python -P -m tui.web.app_process`, started by the web server
with pipes for its terminal (Textual's WebDriver). It ends with the server."""

from __future__ import annotations

import os
import sys

from jobs.home import home
from jobs.luthier_error import LuthierError
from jobs.processes import end_with_parent
from tui import garbage

LOG_NAME = "web.log"
"""The file of the home that keeps what the apps say outside their screens."""


def main() -> int:
    end_with_parent()
    # what a browser cannot show: tracebacks, and the words of the end
    home().mkdir(parents=True, exist_ok=True)
    log = os.open(home() / LOG_NAME, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    os.dup2(log, 2)
    garbage.put_off()
    from tui.app import LuthierApp

    try:
        app = LuthierApp()
        app.run()
    except LuthierError as error:
        print(error, file=sys.stderr)
        return 1
    return app.return_code or 0


if __name__ == "__main__":
    sys.exit(main())
