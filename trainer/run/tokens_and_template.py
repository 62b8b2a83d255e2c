"""The tokenizer of a run: the base model's, with the tokens and the chat template that the recipe
adds. Made once, in the run's folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.files import flush_folder
from jobs.luthier_error import LuthierError
from models.template import load_tokenizer, read_tokenizer
from trainer.recipe import CHATML, CHATML_TOKENS, TEMPLATES, Tokens

if TYPE_CHECKING:
    from transformers import AddedToken, PreTrainedTokenizerBase

TOKENIZER_FOLDER = "tokenizer"
_TEMPLATES_FOLDER = Path(__file__).parents[1] / "chat_templates"


def run_tokenizer(run: Path, base: Path, tokens: Tokens) -> PreTrainedTokenizerBase:
    """What a run's data, mask, evaluations and result have in common. One that an earlier attempt
    has made stays as it is."""
    if not tokens.add and not tokens.template:
        return load_tokenizer(base)
    folder = run / TOKENIZER_FOLDER
    if not folder.is_dir():
        partial = run / f".{TOKENIZER_FOLDER}"
        shutil.rmtree(partial, ignore_errors=True)
        _extended(base, tokens).save_pretrained(str(partial))
        flush_folder(partial, lock="")
        partial.rename(folder)
    return load_tokenizer(folder)


def own_tokenizer(run: Path) -> list[Path]:
    """The files of a run's own tokenizer, which belong to whatever it trains; none where it is the
    base model's."""
    return sorted((run / TOKENIZER_FOLDER).glob("*"))


def new_token_ids(tokenizer: PreTrainedTokenizerBase, base: Path) -> list[int]:
    """The ids of the tokens that the base model's own tokenizer has not."""
    vocabulary = read_tokenizer(base).get_vocab()
    return sorted(
        number for token, number in tokenizer.get_vocab().items() if token not in vocabulary
    )


def _extended(base: Path, tokens: Tokens) -> PreTrainedTokenizerBase:
    """The base's tokenizer with what is added. A token that it has already stays what it is."""
    tokenizer = read_tokenizer(base)
    vocabulary = tokenizer.get_vocab()
    new: list[str | AddedToken] = [token for token in tokens.wanted if token not in vocabulary]
    tokenizer.add_special_tokens({"extra_special_tokens": new}, replace_extra_special_tokens=False)
    if tokens.template == CHATML:
        tokenizer.eos_token = CHATML_TOKENS[1]
    if tokens.template in TEMPLATES:
        tokenizer.chat_template = _read_template(_TEMPLATES_FOLDER / f"{tokens.template}.jinja")
    elif tokens.template:
        tokenizer.chat_template = _read_template(Path(tokens.template))
    return tokenizer


def _read_template(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        hint = f"tokens.template must be one of {', '.join(TEMPLATES)}, or a Jinja file."
        raise LuthierError("The chat template cannot be read", f"{path}: {error}.", hint) from None
