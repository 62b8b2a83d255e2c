"""CSS that is parsed once a process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from textual.css.model import RuleSet
from textual.css.stylesheet import Stylesheet


@contextmanager
def parsed_once() -> Iterator[None]:
    """Each app's own stylesheet would parse all CSS again: a pure function of the text, its place
    and the theme's variables."""
    known: dict[object, list[RuleSet]] = {}
    parse = Stylesheet._parse_rules

    def parse_rules(sheet: Stylesheet, *source: Any, **options: Any) -> list[RuleSet]:
        key = (frozenset(sheet._variables.items()), source, frozenset(options.items()))
        if key not in known:
            known[key] = parse(sheet, *source, **options)
        return known[key]

    with patch.object(Stylesheet, "_parse_rules", parse_rules):
        yield
