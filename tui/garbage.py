"""Python's search for garbage, put off until the first screen is painted: nearly all that there is
by then are modules, which stay, and looking through them took a tenth of that time. Later searches
leave them out as well."""

from __future__ import annotations

import gc


def put_off() -> None:
    """Called before the app is imported."""
    gc.disable()


def search_again() -> None:
    """Once the first screen is painted; where nothing was put off, nothing changes."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
