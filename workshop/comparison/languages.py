"""The languages of answers, as far as they are sure, from a process of its own. Light."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterable

from jobs import foreign_json
from jobs.foreign_json import Damaged

_SECONDS = 120.0
_LIBRARY = "py3langid"


def languages_of(texts: Iterable[str]) -> tuple[dict[str, str], str]:
    """The code of each text whose language is sure; and why none is, if so."""
    different = sorted({text for text in texts if text.strip()})
    if not different:
        return {}, ""
    if importlib.util.find_spec(_LIBRARY) is None:
        return {}, f"Languages are not compared: {_LIBRARY} is not installed in this environment."
    command = [sys.executable, "-P", "-m", "workshop.comparison.language_worker"]
    try:
        ended = subprocess.run(
            command,
            input=json.dumps({"texts": different}),
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {}, f"Languages are not compared: that took longer than {_SECONDS:.0f} s."
    try:
        codes = foreign_json.decode_object(ended.stdout, "the languages")["languages"]
    except (Damaged, KeyError):
        reason = (ended.stderr.strip().splitlines() or ["it ended early"])[-1]
        return {}, f"Languages are not compared: {reason}"
    return {text: code for text, code in zip(different, codes, strict=True) if code}, ""
