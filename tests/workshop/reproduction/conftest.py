"""A home of each test's own, and a hub that the real client talks to."""

from __future__ import annotations

from tests.models.registry.conftest import home, server

__all__ = ["home", "server"]
