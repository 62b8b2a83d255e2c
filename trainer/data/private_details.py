"""Private details in a text: addresses of mail, telephone numbers, cards, accounts, keys. They are
seen by their form alone: names, and what is said in words, are not. Light."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

_KEY = re.compile(r"\b(?:sk|pk|rk|ghp|gho|hf|xox[abp]|AKIA)[-_]?[A-Za-z0-9_-]{16,}")
_MAIL = re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b")
_CARD = re.compile(r"\b\d(?:[ -]?\d){12,18}\b")
_PHONE = re.compile(r"(?<![\w.])(?:\+|00)\d{1,3}[ ./-]?(?:\(?\d{1,5}\)?[ ./-]?){2,5}\d{2,}\b")
_ADDRESS = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")


def _is_card(digits: str) -> bool:
    """Luhn's check."""
    total = 0
    for position, digit in enumerate(reversed([int(sign) for sign in digits if sign.isdigit()])):
        doubled = digit * 2 if position % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def _is_iban(text: str) -> bool:
    """The check of ISO 7064."""
    signs = text.replace(" ", "")
    return int("".join(str(int(sign, 36)) for sign in signs[4:] + signs[:4])) % 97 == 1


def _is_address(text: str) -> bool:
    return all(int(part) < 256 for part in text.split("."))


_KINDS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("key", _KEY, bool),
    ("email", _MAIL, bool),
    ("iban", _IBAN, _is_iban),
    ("card", _CARD, _is_card),
    ("phone", _PHONE, bool),
    ("ip", _ADDRESS, _is_address),
)


def masked(text: str) -> tuple[str, list[str]]:
    """The text with each detail replaced by its kind in brackets, and the kinds."""
    kinds: list[str] = []
    for kind, pattern, is_valid in _KINDS:

        def replaced(match: re.Match[str], kind: str = kind, is_valid: Any = is_valid) -> str:
            if not is_valid(match[0]):
                return match[0]
            kinds.append(kind)
            return f"[{kind}]"

        text = pattern.sub(replaced, text)
    return text, kinds


def masked_value(value: Any) -> tuple[Any, list[str]]:
    """A value of JSON with all its texts masked; its keys stay."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        pairs = {name: masked_value(inner) for name, inner in value.items()}
        return {name: inner for name, (inner, _) in pairs.items()}, [
            kind for _, kinds in pairs.values() for kind in kinds
        ]
    if isinstance(value, list):
        items = [masked_value(inner) for inner in value]
        return [inner for inner, _ in items], [kind for _, kinds in items for kind in kinds]
    return value, []
