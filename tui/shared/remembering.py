"""Settings that the app keeps by itself: written once what they changed has been painted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textual.app import App

from workshop import config
from workshop.config import Value


def remember(app: App[Any], settings: Mapping[str, Value]) -> None:
    """Write settings into config.toml after the next paint; say so if that cannot be."""
    app.call_after_refresh(_save, app, settings)


def _save(app: App[Any], settings: Mapping[str, Value]) -> None:
    try:
        config.save_all(settings)
    # a settings file that cannot be written, or that is no TOML
    except (OSError, ValueError) as error:
        names = ", ".join(settings)
        app.notify(
            f"config.toml was not saved ({names}): {error}", severity="warning", markup=False
        )
