"""The glossary, and what the help shows of it."""

from __future__ import annotations

from tui.key_bindings import ACTIONS
from tui.screens import PLACE_TITLES, SCREENS
from tui.shared.glossary import matching_terms, terms
from tui.shared.help_modal import help_text


def test_every_term_is_there_once_with_a_sentence_and_known_screens() -> None:
    names = [term.name for term in terms()]
    assert len(set(names)) == len(names) >= 40
    for term in terms():
        assert term.text.endswith(".") and set(term.screens) <= set(PLACE_TITLES)


def test_every_screen_with_actions_has_terms() -> None:
    assert {screen.place for screen in SCREENS if matching_terms(screen.place, "")} == {
        screen.place for screen in SCREENS if any(a.place == screen.place for a in ACTIONS)
    }


def test_the_help_shows_the_terms_of_its_screen_and_finds_all_others() -> None:
    text = str(help_text("data", "", 120))
    assert "Terms" in text and "loss mask" in text
    assert "pinned" not in text and "pinned" in str(help_text("data", "pinned", 120))
