"""Subtitles, SRT and WebVTT: cues become paragraphs of one speaker, with their times."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path

import webvtt
from webvtt.errors import MalformedCaptionError, MalformedFileError

from workshop.making.documents.document import Block, Document, unreadable

_SPEAKER = re.compile(r"\s*(?:>>\s*)?([^\W\d_][^:\n<>]{0,39}?)\s*:\s+(?=\S)")
_SOUND = re.compile(r"[\[(\u266a][^\])]{0,200}[\])\u266a]")
_TAG = re.compile(r"<[^>]{0,200}>|\{\\[^}]{0,200}\}")
_PAUSE = 2.5  # seconds without a word that end a paragraph
_LONG = 400  # characters after which a sentence's end does
_SENTENCE_END = (".", "!", "?", "\u2026", "\u3002")


@dataclass
class _Cue:
    begins: float
    ends: float
    speaker: str
    text: str


def read_subtitles(path: Path, text: str) -> Document:
    is_vtt = text.lstrip("\ufeff \n").startswith("WEBVTT")
    try:
        captions = list(webvtt.from_string(text) if is_vtt else _from_srt(text))
    except (MalformedCaptionError, MalformedFileError, ValueError, IndexError) as error:
        raise unreadable(path.name, f"is damaged: {error}.") from error
    left_out: Counter[str] = Counter()
    cues = [*_cues(captions, left_out)]
    return Document(path.name, "WebVTT" if is_vtt else "SRT", [*_paragraphs(cues)], left_out)


def _from_srt(text: str) -> webvtt.WebVTT:
    import io

    return webvtt.from_buffer(io.StringIO(text), format="srt")


def _cues(captions: list[webvtt.Caption], left_out: Counter[str]) -> Iterator[_Cue]:
    speakers = Counter(match[1] for cue in captions if (match := _SPEAKER.match(_plain(cue.text))))
    names = {name for name, count in speakers.items() if count > 1}
    if names and all(map(str.isupper, names)):  # who speaks once is written like the others
        names |= {name for name in speakers if name.isupper() and len(name) > 1}
    last_lines: list[str] = []
    speaker = ""
    for caption in captions:
        lines = [line.strip() for line in _plain(caption.text).splitlines() if line.strip()]
        # captions that roll show a line twice
        new_lines = lines[1:] if lines and lines[0] in last_lines[-1:] else lines
        left_out["repeated lines"] += len(lines) - len(new_lines)
        last_lines = lines
        text = " ".join(new_lines)
        without_sounds = _SOUND.sub(" ", text)
        left_out["sounds"] += without_sounds != text
        text = re.sub(r"\s+", " ", without_sounds).strip()
        match = _SPEAKER.match(text)
        if caption.voice:
            speaker = caption.voice.strip()
        elif match and match[1] in names:
            speaker, text = match[1], text[match.end() :]
        if text.strip("-\u2013 "):
            begins, ends = _seconds(caption.start), _seconds(caption.end)
            yield _Cue(begins, ends, speaker, text.lstrip("-\u2013 "))


def _seconds(stamp: str) -> float:
    """Of "00:01:02.500": webvtt's own seconds leave the fraction out."""
    hours, minutes, seconds = stamp.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _plain(text: str) -> str:
    return unescape(_TAG.sub("", text))


def _paragraphs(cues: list[_Cue]) -> Iterator[Block]:
    current: list[_Cue] = []
    for cue in cues:
        if current and _begins_new(current, cue):
            yield _block(current)
            current = []
        current.append(cue)
    if current:
        yield _block(current)


def _begins_new(current: list[_Cue], cue: _Cue) -> bool:
    last = current[-1]
    if cue.speaker != last.speaker:
        return True
    has_ended = last.text.rstrip("\"'\u201d\u2019)").endswith(_SENTENCE_END)
    length = sum(len(each.text) for each in current)
    return has_ended and (cue.begins - last.ends > _PAUSE or length > _LONG)


def _block(cues: list[_Cue]) -> Block:
    text = " ".join(cue.text for cue in cues)
    return Block(text, begins=cues[0].begins, ends=cues[-1].ends, speaker=cues[0].speaker)
