"""Pictures, sounds and videos: how columns, parts of messages and placeholders in texts name them.
Light."""

from __future__ import annotations

import re
from typing import Any

from trainer.data.formats_turns import EMPTY

_MEDIA = (
    r"(image|img|picture|photo|photograph|screenshot|pixel_value|video|frame|audio|speech|sound|waveform|spectrogram)s?"
    r"(_(path|url|uri|file|filename|file_?name|byte|data|base64|b64|src|input|feature|clip|list|content)s?)?"
)
MEDIA_COLUMN = re.compile(rf"([a-z0-9_]+_)?{_MEDIA}(_?\d+)?|(image|img|picture|photo)_?ids?")
_SOUNDS = frozenset(("audio", "speech", "sound", "waveform", "spectrogram"))
# What data sets put where a picture stands. `<video>` alone may be HTML: then it is closed, or
# stands in code.
_PLACEHOLDER = re.compile(
    r"<(?:\|(?:image|video|audio|vision|img|media|sound)[a-z_0-9|]*\|?>"
    r"|(?<![`'\"\w]<)(?:image|video|audio|img|picture|speech|sound|media)s?(?:[_-]?(?:\d+|placeholder|here|token))?>"
    r"(?![`'\"]| (?:tag|element|html)))",
    re.IGNORECASE,
)
_MEDIA_PART = re.compile(
    r"(?:input_|output_)?(image|video|audio|document|file|photo|picture)(?:_url|_file|_path)?"
)


def a_medium(name: str) -> str:
    """The name of a column, a part or a placeholder as what it stands for."""
    lowered = name.lower()
    if "video" in lowered or "frame" in lowered:
        return "a video"
    if any(sound in lowered for sound in _SOUNDS):
        return "a sound"
    return (
        "a document"
        if "document" in lowered or lowered.removeprefix("input_") == "file"
        else "a picture"
    )


def media_in(content: Any) -> str | None:
    """What a message's content has of pictures and sounds, in words; None if it is text."""
    if isinstance(content, str):
        placeholder = _PLACEHOLDER.search(content) if "<" in content else None
        return (
            None
            if placeholder is None or _is_markup(content, placeholder[0])
            else f"{placeholder[0]}, the placeholder of {a_medium(placeholder[0])}"
        )
    for part in content if isinstance(content, list) else [content]:
        if not isinstance(part, dict):
            continue
        kind = part.get("type")
        if kind == "text" and "content" not in part:
            continue
        names = (
            [kind]
            if isinstance(kind, str)
            else [str(key) for key, value in part.items() if value not in EMPTY]
        )
        for name in names:
            if _MEDIA_PART.fullmatch(name):
                return f"{a_medium(name)} (`{name}`)"
        if (
            kind in ("tool_result", "text", None)
            and isinstance(part.get("content"), list)
            and (inner := media_in(part["content"]))
        ):
            return inner
    return None


def _is_markup(text: str, placeholder: str) -> bool:
    """Whether `<video>` is HTML that the text is about: closed somewhere, or in a block of code."""
    return not placeholder.startswith("<|") and (f"</{placeholder[1:]}" in text or "```" in text)
