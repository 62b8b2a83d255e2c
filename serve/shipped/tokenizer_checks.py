"""Whether a shipped file reads and ends texts as training did: tokens, merges, special tokens,
stop tokens, chat template, in the terms of its format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs import foreign_json
from jobs.luthier_error import LuthierError
from models.certificate import Check
from models.export.tokenizer_splitting import is_byte_level, splitting
from models.folder import ModelFolder, templates_differ
from models.gguf_file import GgufFile

# What llama.cpp ends answers at by the text of the token, whatever the file lists.
_ENDS_BY_TEXT = frozenset(
    (
        *("<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|eom_id|>"),
        *("<EOT>", "_<EOT>", "< EOT >", "<｜end▁of▁sentence｜>", "<|end_of_text|>", "<turn|>"),
    )
)
_BEGIN_BY_DEFAULT = frozenset(("llama-bpe", "llama3", "llama-v3", "tekken"))
_UNREAD = (
    "Luthier does not know llama.cpp's name for how this tokenizer splits texts, so it could not"
    " compare it."
)


@dataclass(frozen=True)
class Tokenizer:
    """The tokenizer of training, or of a shipped folder."""

    folder: ModelFolder
    content: dict[str, Any]
    """tokenizer.json."""
    stops: Sequence[int] = field(default=())
    """The tokens that training ended answers with."""

    @classmethod
    def of(cls, path: Path, stops: Sequence[int] = ()) -> Tokenizer:
        """LuthierError if the folder has no readable tokenizer.json."""
        try:
            content = foreign_json.read_object(path / "tokenizer.json", lenient=True)
        except FileNotFoundError:
            raise LuthierError(
                "No tokenizer", f"{path} has no tokenizer.json.", "Export the model again."
            ) from None
        except foreign_json.Damaged as error:
            raise LuthierError(
                "Unreadable tokenizer", error.message, "Export the model again."
            ) from error
        return cls(ModelFolder(path), content, stops)

    @property
    def merges(self) -> list[str]:
        """The pairs in their order, each as "left right"."""
        pairs = (self.content.get("model") or {}).get("merges") or []
        return [pair if isinstance(pair, str) else " ".join(pair) for pair in pairs]

    @property
    def tokens(self) -> dict[int, str]:
        return {number: text for text, number in self.folder.token_ids.items()}

    @property
    def adds_beginning(self) -> bool:
        """Whether it puts a beginning-of-sequence token before a text by itself."""
        processor = self.content.get("post_processor") or {}
        steps = processor.get("processors") or [processor]
        return any("SpecialToken" in part for step in steps for part in step.get("single") or [])


def gguf_checks(file: GgufFile, trained: Tokenizer) -> list[Check]:
    """What the header of a GGUF file says, held against training's tokenizer."""
    pairs = []
    if is_byte_level(trained.content):  # SentencePiece has scores in their place
        merges = [str(pair) for pair in file.token_setting("merges") or []]
        pairs = [_merges(merges, trained), _splitting(file, trained)]
    return [
        _tokens(_listed(file), trained),
        *pairs,
        _special_tokens(file, trained),
        _stop_tokens(_gguf_ends(file, trained), trained, "the file"),
    ]


def folder_checks(path: Path, trained: Tokenizer) -> list[Check]:
    """The same of a folder's files. A tokenizer that cannot be read is one red check."""
    try:
        shipped = Tokenizer.of(path)
        ends = shipped.folder.stop_ids
        same_steps = all(
            shipped.content.get(part) == trained.content.get(part)
            for part in ("normalizer", "pre_tokenizer", "post_processor")
        )
    except LuthierError as error:
        return [Check("tokenizer", "red", error.message)]
    sentence = (
        "It prepares and splits texts as training's tokenizer does."
        if same_steps
        else "It prepares or splits texts differently from training's tokenizer (normalizer,"
        " pre_tokenizer or post_processor of tokenizer.json)."
    )
    return [
        _tokens(shipped.tokens, trained),
        _merges(shipped.merges, trained),
        _exact("tokenizer, splitting", int(not same_steps), sentence),
        _stop_tokens(ends, trained, "the folder"),
    ]


def template_check(
    shipped: str, trained: str, differing_prompts: int | None, prompts: int
) -> Check:
    """`differing_prompts` of so many that the two templates write differently; None where that was
    not tried."""
    name, unit = "chat template", f"of {prompts} prompts"
    if not shipped:
        return Check(
            name,
            "red",
            "It carries no chat template: the program that runs it guesses, or uses another one.",
        )
    if not templates_differ(shipped, trained):
        return Check(name, "green", "The chat template is training's.", 0, 0, 0, unit)
    if differing_prompts == 0:
        return Check(
            name,
            "green",
            "The chat template is written differently from training's, and renders every held-out"
            " prompt the same.",
            *(0, 0, 0, unit),
        )
    count = prompts if differing_prompts is None else differing_prompts
    return Check(
        name,
        "red",
        f"The chat template is not training's: it renders {count} of {prompts} held-out prompts"
        " differently.",
        *(count, 0, 0, unit),
    )


def _listed(file: GgufFile) -> dict[int, str]:
    return {number: str(text) for number, text in enumerate(file.token_setting("tokens") or [])}


def _tokens(shipped: dict[int, str], trained: Tokenizer) -> Check:
    name = "tokenizer, tokens"
    expected = trained.tokens
    differing = [
        number
        for number, text in expected.items()
        # llama.cpp's converter writes the space of an added token as one
        if shipped.get(number) not in (text, text.replace("▁", " "))
    ]
    if not expected:
        return Check(name, "amber", "Training's tokenizer lists no tokens to compare with.")
    if differing:
        number = min(differing)
        sentence = (
            f"{len(differing):,} of {len(expected):,} tokens differ from training's; the first is"
            f" {number}: {shipped.get(number)!r} instead of {expected[number]!r}."
        )
    else:
        sentence = f"All {len(expected):,} tokens are training's, under the same numbers."
    return _exact(name, len(differing), sentence, f"of {len(expected):,} tokens")


def _merges(shipped: list[str], trained: Tokenizer) -> Check:
    name, expected = "tokenizer, merges", trained.merges
    if not shipped:
        sentence = (
            f"It has none of training's {len(expected):,} merges: the program that runs it reads"
            " texts in another way."
        )
        return _exact(name, len(expected), sentence, f"of {len(expected):,} merges")
    differing = sum(a != b for a, b in zip(shipped, expected, strict=False))
    differing += abs(len(shipped) - len(expected))
    sentence = (
        f"{differing:,} of {len(expected):,} merges differ from training's: the same text becomes"
        " other tokens."
        if differing
        else f"All {len(expected):,} merges are training's, in the same order."
    )
    return _exact(name, differing, sentence, f"of {len(expected):,} merges")


def _splitting(file: GgufFile, trained: Tokenizer) -> Check:
    name, stated = "tokenizer, splitting", str(file.token_setting("pre") or "default")
    try:
        expected = splitting(trained.content)
    except LuthierError:
        return Check(name, "amber", _UNREAD)
    sentence = (
        f"It splits texts as training's tokenizer does ({expected})."
        if stated == expected
        else f"It has llama.cpp split texts as {stated}, and training's tokenizer splits them"
        f" as {expected}: numbers and punctuation may become other tokens."
    )
    return _exact(name, int(stated != expected), sentence)


def _special_tokens(file: GgufFile, trained: Tokenizer) -> Check:
    """Beginning and end of a sequence, and whether the beginning is added."""
    name, faults = "special tokens", []
    for key, title, expected in (
        ("bos_token_id", "beginning-of-sequence", trained.folder.bos_token_id),
        ("eos_token_id", "end-of-sequence", trained.folder.eos_token_id),
    ):
        stated = file.token_setting(key)
        if expected is not None and stated != expected and not _also_ends(key, stated, trained):
            says = "lists none" if stated is None else f"says {stated}"
            faults.append(f"its {title} token is {expected} in training, and the file {says}")
    stated_adding = file.token_setting("add_bos_token")
    default = str(file.token_setting("pre") or "") in _BEGIN_BY_DEFAULT
    adds = default if stated_adding is None else bool(stated_adding)
    if adds != trained.adds_beginning and not adds:
        faults.append("training's tokenizer adds that token to each text, and the file does not")
    sentence = (
        f"{'; '.join(faults).capitalize()}."
        if faults
        else "Beginning and end of a sequence are training's tokens."
    )
    return _exact(name, len(faults), sentence)


def _also_ends(key: str, stated: Any, trained: Tokenizer) -> bool:
    return key == "eos_token_id" and stated in trained.stops


def _gguf_ends(file: GgufFile, trained: Tokenizer) -> set[int]:
    tokens = trained.tokens
    ends = {file.token_setting(f"{name}_token_id") for name in ("eos", "eot", "eom")}
    by_text = {number for number, text in tokens.items() if text in _ENDS_BY_TEXT}
    return {number for number in ends if number is not None} | by_text


def _stop_tokens(ends: Any, trained: Tokenizer, source: str) -> Check:
    unknown = sorted(set(trained.stops) - set(ends))
    sentence = (
        f"Training ended answers with token {', '.join(map(str, unknown))}, at which {source} does"
        " not end them: answers run on."
        if unknown
        else f"Answers end at the tokens that training ended them with"
        f" ({', '.join(map(str, sorted(trained.stops))) or 'none'})."
    )
    return _exact("stop tokens", len(unknown), sentence, "unknown")


def _exact(name: str, figure: int, sentence: str, unit: str = "differences") -> Check:
    return Check(name, "red" if figure else "green", sentence, figure, 0, 0, unit)
