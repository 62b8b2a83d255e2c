"""Which files of a model are taken: configuration, tokenizer, templates, safetensors, licence.
Neither pickles nor code."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection

from jobs.foreign_json import Damaged
from jobs.luthier_error import LuthierError
from models.weights import indexed_files

INDEX = "model.safetensors.index.json"
PICKLED_INDEX = "pytorch_model.bin.index.json"
ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
_BESIDE = (
    *(
        "config.json",
        "generation_config.json",
        "adapter_config.json",
        "README.md",
        "LICEN[SC]E*",
        "NOTICE*",
        "USE_POLICY*",
    ),
    *(
        "tokenizer*.json",
        "tokenizer*.model",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "vocab.txt",
        "merges.txt",
    ),
    *(
        "*.tiktoken",
        "spiece.model",
        "sentencepiece.bpe.model",
        "chat_template*.jinja",
        "chat_template.json",
    ),
    *("additional_chat_templates/*.jinja", "preprocessor_config.json", "processor_config.json"),
)


def is_adapter(names: Collection[str]) -> bool:
    """Whether these are the files of an adapter; some bring the base's config.json along, which
    would make them pass for a model."""
    return (
        all(name in names for name in ADAPTER)
        and "model.safetensors" not in names
        and INDEX not in names
    )


def companions(names: Collection[str]) -> list[str]:
    """Everything but the weights."""
    beside_weights = sorted(
        name
        for name in names
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in _BESIDE) and _plain(name)
    )
    return (
        [name for name in beside_weights if name != "config.json"]
        if is_adapter(names)
        else beside_weights
    )


def code(names: Collection[str]) -> list[str]:
    """A model's own Python files, which only `--trust` brings along."""
    return sorted(name for name in names if name.endswith(".py") and _plain(name))


def needs_index(names: Collection[str]) -> str | None:
    """The index that must be read before the weights are known, if there is one that counts."""
    if "model.safetensors" in names or ADAPTER[1] in names:
        return None
    return INDEX if INDEX in names else None


def weights(names: Collection[str], index: str | None, where: str) -> list[str]:
    """The safetensors files that from_pretrained would read; `index` is the text of the index.
    LuthierError if there are none.

    A repository may hold its weights twice (consolidated.safetensors): what nobody reads is not
    taken.
    """
    own_weights = [name for name in names if "/" not in name and name.endswith(".safetensors")]
    for single in (ADAPTER[1], "model.safetensors"):
        if single in own_weights:
            return [single]
    if index is not None:
        try:
            listed = indexed_files(index, f"{INDEX} of {where}")
        except Damaged as error:
            raise LuthierError(
                "Unreadable weights", error.message, "Report it to its authors."
            ) from error
        missing = [name for name in listed if name not in names or not _plain(name)]
        if missing:
            raise LuthierError(
                "Weights are missing",
                f"{where} lacks {', '.join(missing[:3])}, which its index lists.",
                "Is the download complete?",
            )
        return [INDEX, *listed]
    if len(own_weights) == 1:
        return own_weights
    raise _no_weights(names, where)


def pickled_weights(names: Collection[str]) -> list[str]:
    """The pickled weights of a model that has no others, with their index."""
    shards = sorted(
        name for name in names if fnmatch.fnmatchcase(name, "pytorch_model*.bin") and _plain(name)
    )
    return [*(name for name in (PICKLED_INDEX,) if name in names), *shards] if shards else []


def _plain(name: str) -> bool:
    """Names come from a server: none may lead out of the folder."""
    return not name.startswith(("/", ".")) and ".." not in name.split("/") and "\\" not in name


def _no_weights(names: Collection[str], where: str) -> LuthierError:
    gguf = sorted(name for name in names if name.endswith(".gguf"))
    if gguf:
        message = (
            f"{where} has GGUF files only ({gguf[0]} and {len(gguf) - 1} more)."
            if gguf[1:]
            else f"{where} has only {gguf[0]}."
        )
        return LuthierError(
            "GGUF files only",
            message,
            "Download one file and import it, or import the repository that it was made from.",
        )
    if pickled_weights(names):
        hint = (
            "Look for a safetensors version; if you trust the authors, `--trust owner/name`"
            " converts these."
        )
        return LuthierError(
            "Pickled weights", f"{where} has only pickled weights, and pickles can run code.", hint
        )
    several = [name for name in names if name.endswith(".safetensors") and "/" not in name]
    problem = "several safetensors files but no index" if several else "no safetensors weights"
    return LuthierError("No weights", f"{where} has {problem}.", "Is it a model for transformers?")
