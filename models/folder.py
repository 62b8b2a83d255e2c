"""The one reader of what a model's folder says beside its weights. Light: no tokenizer is loaded.

Each rule is the one by which transformers and vLLM 0.32 read the same folder. A file that is
damaged is one error, "Unreadable model"; a file that is not there says nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from jobs import foreign_json
from jobs.foreign_json import Damaged
from jobs.luthier_error import LuthierError
from models import foreign, stop_tokens
from models.card import CARD_FILE, Card

CONFIG_FILE = "config.json"
GENERATION_CONFIG_FILE = "generation_config.json"
ADAPTER_CONFIG_FILE = "adapter_config.json"
ADAPTER_WEIGHTS_FILE = "adapter_model.safetensors"
TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
TEMPLATE_FILE = "chat_template.jinja"
PROCESSOR_TEMPLATE_FILE = "chat_template.json"
NAMED_TEMPLATES_FOLDER = "additional_chat_templates"

_PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")
_TOKENIZER_PATTERNS = (
    "tokenizer*.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "*.tiktoken",
    "spiece.model",
    "sentencepiece.bpe.model",
    TEMPLATE_FILE,
    PROCESSOR_TEMPLATE_FILE,
    NAMED_TEMPLATES_FOLDER,
)
_STOPS: dict[str, Any] = {"eos_token_id": int | list[int] | None}
_PER_TOKEN = ("per_tok", "per_token")
_NUMBERS = (
    "max_position_embeddings",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "num_experts_per_tok",
    "moe_intermediate_size",
    "shared_expert_intermediate_size",
)
_CONFIG: dict[str, Any] = {
    **dict.fromkeys(_NUMBERS, float | None),
    **_STOPS,
    "intermediate_size": float | list[float] | None,
    "architectures": list[str] | None,
    "model_type": str | None,
    "text_config": dict[str, Any] | None,
    "quantization_config": dict[str, Any] | None,
}
"""The types of what is asked of a model's config."""
_TOKENIZER: dict[str, Any] = {
    "model": dict[str, Any] | None,
    "added_tokens": list[dict[str, Any]] | None,
}
_TOKENIZER_CONFIG: dict[str, Any] = {"added_tokens_decoder": dict[str, dict[str, Any]] | None}
_ADAPTER_CONFIG: dict[str, Any] = {
    "r": int,
    "rank_pattern": dict[str, int] | None,
    "base_model_name_or_path": str | None,
    "peft_type": str | None,
}
_SETS = ("target_modules", "modules_to_save", "exclude_modules")
"""What PEFT holds as sets: earlier versions saved them in any order."""


class ModelFolder:
    """The folder of a model or an adapter. Each file is read once, when it is first asked for.

    Everything raises LuthierError where the file that says it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    # Config

    @cached_property
    def config(self) -> dict[str, Any]:
        """config.json. LuthierError if it is missing, too, or if what it says has another type than
        it should."""
        if not (self.path / CONFIG_FILE).is_file():
            raise LuthierError(
                "Not a model",
                f"{self.path} has no {CONFIG_FILE}.",
                f"Give the folder that holds {CONFIG_FILE}.",
            )
        return self._config

    @cached_property
    def text_config(self) -> dict[str, Any]:
        """What the config says of the language model: text_config before the keys around it. A
        model of text alone has no text_config."""
        return {**self.config, **_without_null(self.config.get("text_config") or {})}

    @property
    def mixes_experts(self) -> bool:
        """Whether it is a mixture of experts, by the number of experts that its config names."""
        return any(
            "experts" in key
            and not key.endswith(_PER_TOKEN)
            and isinstance(count, int)
            and count > 1
            for key, count in self.text_config.items()
        )

    @property
    def vocabulary_size(self) -> int | None:
        """How many token ids the model has a vector for: more than its tokenizer has tokens where
        the vocabulary is padded. None where the config does not say it."""
        return _text_number(self._config, "vocab_size")

    @property
    def context_length(self) -> int | None:
        """The longest sequence in tokens that the config allows; None where it does not say it."""
        return _text_number(self._config, "max_position_embeddings")

    # Stop tokens

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """The tokens that a server ends an answer at."""
        return self.stop_ids_with(self.eos_token_id)

    def stop_ids_with(self, eos_token_id: int | None) -> frozenset[int]:
        """The same for a tokenizer that is loaded already, by its eos token."""
        return stop_tokens.stop_ids(self.generation_stops, eos_token_id)

    @cached_property
    def generation_stops(self) -> list[int]:
        """Those that its config files list (models.stop_tokens)."""
        has_generation_config = (self.path / GENERATION_CONFIG_FILE).is_file()
        generation_config = self.generation_config if has_generation_config else None
        return stop_tokens.listed_stops(generation_config, self._config)

    @cached_property
    def generation_config(self) -> dict[str, Any]:
        """generation_config.json, empty if there is none."""
        return self._object(GENERATION_CONFIG_FILE, _STOPS)

    @cached_property
    def eos_token_id(self) -> int | None:
        """The tokenizer's eos token, as far as its files name one that it has; the default of a
        tokenizer's class in transformers is not known here."""
        return self._special_token_id("eos_token")

    @cached_property
    def bos_token_id(self) -> int | None:
        """The same for its bos token."""
        return self._special_token_id("bos_token")

    def _special_token_id(self, name: str) -> int | None:
        # special_tokens_map.json counts for tokenizers saved before added_tokens_decoder was
        settings = self._tokenizer_config
        if "added_tokens_decoder" not in settings:
            settings = {**settings, **self._object("special_tokens_map.json")}
        token = settings.get(name)
        text = token.get("content") if isinstance(token, dict) else token
        return self.token_ids.get(text) if isinstance(text, str) else None

    @cached_property
    def token_ids(self) -> dict[str, int]:
        """The tokens of the tokenizer's files by their texts; empty for a tokenizer that has
        neither tokenizer.json nor vocab.json."""
        tokenizer = self._object(TOKENIZER_FILE, _TOKENIZER)
        decoder = self._tokenizer_config.get("added_tokens_decoder") or {}
        return {
            **_vocabulary(self._object("vocab.json")),
            **_vocabulary((tokenizer.get("model") or {}).get("vocab")),
            **_contents((token, token.get("id")) for token in tokenizer.get("added_tokens") or []),
            **_contents(
                (token, int(number)) for number, token in decoder.items() if number.isdecimal()
            ),
        }

    # Chat template

    @property
    def chat_template(self) -> str | None:
        """The template that a server renders a chat with; None if it has none."""
        return self._templates.served

    @property
    def tool_template(self) -> str | None:
        """The template that a server renders a chat with tools with."""
        return self._templates.with_tools

    @property
    def template_source(self) -> str:
        """The name of the file that `chat_template` stands in; "" if there is none."""
        return self._templates.source

    # Other files

    @property
    def card(self) -> Card:
        """Luthier's note; an empty one if there is none."""
        if isinstance(self._card, Damaged):
            raise _unreadable(self._card) from self._card
        return self._card

    @property
    def shown_card(self) -> Card:
        """The same for those who only show it beside `card_damage`: a damaged one is empty."""
        return Card() if isinstance(self._card, Damaged) else self._card

    @property
    def card_damage(self) -> str:
        """Why the note cannot be read; "" if it can, or if there is none."""
        damage = self._card
        return f"{CARD_FILE} is damaged: {damage.reason}" if isinstance(damage, Damaged) else ""

    @property
    def is_adapter(self) -> bool:
        return (self.path / ADAPTER_CONFIG_FILE).is_file()

    @cached_property
    def adapter_config(self) -> dict[str, Any]:
        """adapter_config.json, empty if there is none."""
        return self._object(ADAPTER_CONFIG_FILE, _ADAPTER_CONFIG)

    @property
    def has_tokenizer(self) -> bool:
        """Whether a tokenizer was saved here, as training does for an adapter that changes it."""
        return (self.path / TOKENIZER_CONFIG_FILE).is_file()

    @property
    def tokenizer_files(self) -> list[Path]:
        """The files, and the folder of templates, that make its tokenizer and chat template."""
        return sorted({path for pattern in _TOKENIZER_PATTERNS for path in self.path.glob(pattern)})

    def identity(self) -> str:
        """24 hexadecimal digits of an adapter's files: two folders with the same have the same
        adapter. OSError if a file is missing."""
        digest = hashlib.blake2b(_in_one_order(self.path / ADAPTER_CONFIG_FILE), digest_size=12)
        with (self.path / ADAPTER_WEIGHTS_FILE).open("rb") as file:
            digest.update(hashlib.file_digest(file, hashlib.blake2b).digest())
        return digest.hexdigest()

    # How the files are read

    @cached_property
    def _config(self) -> dict[str, Any]:
        """config.json, empty if there is none."""
        config = self._object(CONFIG_FILE, _CONFIG)
        text = config.get("text_config")
        if text is not None:
            try:
                foreign_json.check(text, _CONFIG, f"{self.path / CONFIG_FILE}, text_config")
            except Damaged as error:
                raise _unreadable(error) from error
        return config

    @cached_property
    def _card(self) -> Card | Damaged:
        try:
            return foreign.read(self.path / CARD_FILE, Card)
        except FileNotFoundError:
            return Card()
        except Damaged as error:
            return error

    @cached_property
    def _tokenizer_config(self) -> dict[str, Any]:
        return self._object(TOKENIZER_CONFIG_FILE, _TOKENIZER_CONFIG)

    @cached_property
    def _templates(self) -> _Templates:
        return _Templates(self.path, self._tokenizer_config)

    def _object(self, name: str, types: dict[str, Any] | None = None) -> dict[str, Any]:
        return _read_object(self.path / name, types or {})


class _Templates:
    """The chat templates of a folder: the tokenizer's, by name, and its processor's.

    Templates in files of their own replace all those of tokenizer_config.json. A processor, which
    models of more than text have, renders chats without tools; chat_template.json is read by it
    alone. A template that a processor's class brings along is not known here.
    """

    def __init__(self, path: Path, tokenizer_config: dict[str, Any]) -> None:
        files = _template_files(path)
        by_name = files or _named_templates(tokenizer_config.get("chat_template"))
        self.with_tools = by_name.get("tool_use", by_name.get("default"))
        self.served, self.source = _processor_template(path)
        if self.served is None and "default" in by_name:
            self.served = by_name["default"]
            self.source = TEMPLATE_FILE if files else TOKENIZER_CONFIG_FILE


def _template_files(path: Path) -> dict[str, str]:
    single = path / TEMPLATE_FILE
    templates = {"default": _read_text(single)} if single.is_file() else {}
    for file in sorted((path / NAMED_TEMPLATES_FOLDER).glob("*.jinja")):
        templates[file.stem] = _read_text(file)
    return templates


def _processor_template(path: Path) -> tuple[str | None, str]:
    """A template of the processor's that is not the tokenizer's, too, and its file; None if it has
    none, or if there is no processor."""
    if any((path / name).is_file() for name in _PROCESSOR_FILES):
        for name in (_PROCESSOR_FILES[0], PROCESSOR_TEMPLATE_FILE):
            value = _read_object(path / name, {}).get("chat_template")
            template = _named_templates(value).get("default")
            if template is not None:
                return template, name
    return None, ""


def templates_differ(template: str | None, other: str | None) -> bool:
    """Whether two templates that are both there differ in more than the space at their end."""
    return template is not None and other is not None and template.rstrip() != other.rstrip()


def _read_object(path: Path, types: dict[str, Any]) -> dict[str, Any]:
    """A JSON object, what it says of these types; empty if there is no such file."""
    try:
        value = foreign_json.read_object(path, lenient=True)
        foreign_json.check(value, types, path)
    except FileNotFoundError:
        return {}
    except Damaged as error:
        raise _unreadable(error) from error
    return value


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise _unreadable(Damaged(path, f"it is not UTF-8 (byte {error.start})")) from error
    except OSError as error:
        raise _unreadable(Damaged(path, f"it cannot be read ({error.strerror})")) from error


def _unreadable(error: Damaged) -> LuthierError:
    if isinstance(error.where, Path) and error.where.name == ADAPTER_CONFIG_FILE:
        message = f"{error.where} is damaged: {error.reason}."
        return LuthierError("Unreadable adapter", message, "Save the adapter again.")
    return LuthierError("Unreadable model", error.message, "Copy the model again.")


def _without_null(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _text_number(config: dict[str, Any], key: str) -> int | None:
    """A number of the language model: text_config's, else the outer one."""
    number = (config.get("text_config") or {}).get(key) or config.get(key)
    return int(number) if number else None


def _vocabulary(vocabulary: Any) -> dict[str, int]:
    """Tokens with their ids, or (Unigram's) in the order of their ids."""
    if isinstance(vocabulary, list):
        return {
            pair[0]: number
            for number, pair in enumerate(vocabulary)
            if isinstance(pair, list) and pair and isinstance(pair[0], str)
        }
    return vocabulary if foreign_json.fits(vocabulary, dict[str, int]) else {}


def _contents(tokens: Iterable[tuple[dict[str, Any], Any]]) -> dict[str, int]:
    """Added tokens by their texts, with their ids."""
    return {
        token["content"]: number
        for token, number in tokens
        if foreign_json.fits(token.get("content"), str) and foreign_json.fits(number, int)
    }


def _named_templates(value: Any) -> dict[str, str]:
    """A config's chat_template: a text, or several as a list of names and templates, or by name."""
    if isinstance(value, str):
        return {"default": value}
    if isinstance(value, list):
        value = {
            entry.get("name"): entry.get("template") for entry in value if isinstance(entry, dict)
        }
    if not isinstance(value, dict):
        return {}
    return {
        name: template
        for name, template in value.items()
        if isinstance(name, str) and isinstance(template, str)
    }


def _in_one_order(path: Path) -> bytes:
    """An adapter's config with its sets in order; as it is where it is no config."""
    written = path.read_bytes()
    try:
        config = foreign_json.decode_object(written, path, lenient=True)
        return json.dumps(
            {
                **config,
                **{
                    name: sorted(config[name])
                    for name in _SETS
                    if isinstance(config.get(name), list)
                },
            }
        ).encode()
    except (Damaged, TypeError):
        return written
