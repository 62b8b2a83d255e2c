"""Who speaks in a transcript, and what each becomes: a user, the assistant, or left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from jobs.luthier_error import LuthierError
from jobs.near import did_you_mean
from workshop.making.documents.document import Document
from workshop.making.order import Role

_EXCERPT = 80
_SUGGESTION = "--speaker NAME=assistant makes it the assistant; =user and =drop are the others."


@dataclass
class Speaker:
    name: str
    turns: int = 0
    words: int = 0
    files: list[str] = field(default_factory=list)
    first: str = ""
    """How they begin to speak."""


def speakers_of(documents: Iterable[Document]) -> list[Speaker]:
    """Who speaks most comes first."""
    speakers: dict[str, Speaker] = {}
    for document in documents:
        for block in document.blocks:
            if not block.speaker and not document.has_speakers:
                continue
            speaker = speakers.setdefault(block.speaker, Speaker(block.speaker))
            speaker.turns += 1
            speaker.words += len(block.text.split())
            speaker.first = speaker.first or block.text[:_EXCERPT]
            if document.file not in speaker.files:
                speaker.files.append(document.file)
    return sorted(speakers.values(), key=lambda each: -each.words)


def roles_of(documents: list[Document], choices: Mapping[str, Role]) -> dict[str, Role]:
    """The role of every speaker: as chosen; of two of whom neither is chosen, who says more is the
    assistant. LuthierError where that is not clear."""
    silent = [document.file for document in documents if not document.has_speakers]
    if silent:
        raise LuthierError(
            "Nobody speaks",
            f"{', '.join(silent)}: no speaker is named.",
            'A transcript has lines like "ANNA: Hello." Other texts take the recipe interview,'
            " qa or continue.",
        )
    names = [speaker.name for speaker in speakers_of(documents)]
    folded = {name.casefold(): name for name in names}
    roles: dict[str, Role] = {"": "drop"}
    for name, role in choices.items():
        if name.casefold() not in folded:
            raise LuthierError(
                "No such speaker",
                f"Nobody is called {name!r} in these transcripts.",
                f"{did_you_mean(name, names)}{_list(names)}",
            )
        roles[folded[name.casefold()]] = role
    open_names = [name for name in names if name and name not in roles]
    if not choices and len(open_names) == 2:
        return {**roles, open_names[0]: "assistant", open_names[1]: "user"}
    if "assistant" not in roles.values():
        raise LuthierError(
            "Who is the assistant?", _list(names), f"{_SUGGESTION} `--plan` shows what they say."
        )
    return {**dict.fromkeys(open_names, "user"), **roles}


def _list(names: list[str]) -> str:
    return f"These speak: {', '.join(filter(None, names))}."
