"""The model card: README.md in the hub's format, made of a record. The text is for a reader who has
never heard of Luthier."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from models.certificate import Certificate, Check
from models.chapters import TITLES, Chapter
from models.export.model_record import Record, without_paths

# What the hub takes as `license`; others are `other` with a `license_name`.
# https://huggingface.co/docs/hub/repositories-licenses
_LICENCES = {
    *(
        "apache-2.0",
        "mit",
        "bsd-2-clause",
        "bsd-3-clause",
        "mpl-2.0",
        "gpl-3.0",
        "agpl-3.0",
        "lgpl-3.0",
        "unlicense",
        "openrail",
        "unknown",
    ),
    *(
        "cc0-1.0",
        "cc-by-4.0",
        "cc-by-sa-4.0",
        "cc-by-nc-4.0",
        "cc-by-nc-sa-4.0",
        "cc-by-nc-nd-4.0",
        "bigscience-openrail-m",
    ),
    *(
        "llama2",
        "llama3",
        "llama3.1",
        "llama3.2",
        "llama3.3",
        "llama4",
        "gemma",
        "bigcode-openrail-m",
        "openmdw-1.0",
        "other",
    ),
}
_SHOWN = (
    "learning_rate",
    "epochs",
    "global_batch",
    "max_length",
    "schedule",
    "warmup",
    "weight_decay",
    "seed",
)


def model_card(record: Record, repository: str = "") -> str:
    """The whole README.md. `repository` is the name that the model will have on the hub, "" for one
    that stays in a folder."""
    parts = [
        _front_matter(_metadata(record)),
        f"# {record.title}\n\n{_what_it_is(record)}",
        _certificate(record.certificate),
        _chapters(record.chapters),
        _usage(record, repository or "FOLDER"),
        _training(record),
        _data(record),
        _bytes(record),
    ]
    return str(without_paths("\n\n".join(part for part in parts if part) + "\n"))


def _metadata(record: Record) -> dict[str, Any]:
    adapter = record.kind == "tuned"
    metadata: dict[str, Any] = {}
    if record.licence:
        is_common = record.licence in _LICENCES
        metadata["license"] = record.licence if is_common else "other"
        if not is_common:
            metadata["license_name"] = record.licence
    if record.repository:
        metadata |= {
            "base_model": record.repository,
            "base_model_relation": "adapter" if adapter else "finetune",
        }
    metadata |= {
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-generation",
    }
    metadata["tags"] = [
        "luthier",
        *(["lora"] if record.kind in ("tuned", "merged") else []),
        *(["sft", "conversational"] if record.run else []),
    ]
    if record.datasets:
        metadata["datasets"] = record.datasets
    return metadata


def _front_matter(metadata: dict[str, Any]) -> str:
    """YAML of keys, texts and lists of texts. Each text is written as JSON, which YAML reads too:
    none is taken for a number or a date."""
    lines = []
    for key, value in metadata.items():
        if isinstance(value, list):
            lines += [f"{key}:", *(f"- {json.dumps(item, ensure_ascii=False)}" for item in value)]
        else:
            lines.append(f"{key}: {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(["---", *lines, "---"])


def _what_it_is(record: Record) -> str:
    base = (
        f"[{record.repository}](https://huggingface.co/{record.repository})"
        if record.repository
        else f"`{record.base}`"
    )
    how_made = (
        f" It was trained on {time.strftime('%d %B %Y', time.gmtime(record.made))}, as the run"
        f" `{record.run}`."
        if record.run and record.made
        else ""
    )
    licence = (
        f" Licence of the base model: {record.licence}."
        if record.licence
        else " The base model's licence applies; Luthier does not know which one it is."
    )
    if record.dequantised:
        near = "close to those of the original model, but not equal to them"
        how_made += (
            f" The base model's weights were dequantised from `{record.dequantised}`: {near}."
        )
    match record.kind:
        case "tuned":
            return (
                f"A LoRA adapter for {base}, made with Luthier"
                f" {record.versions['luthier']}.{how_made}{licence}"
            )
        case "full":
            return (
                f"{base}, all of its weights trained further with Luthier"
                f" {record.versions['luthier']}.{how_made}{licence}"
            )
        case "merged":
            return (
                f"{base} with a LoRA adapter merged into its weights, made with Luthier"
                f" {record.versions['luthier']}.{how_made}{licence}"
            )
        case "base":
            return (
                f"A model used with Luthier {record.versions['luthier']}. Its licence:"
                f" {record.licence or 'unknown'}."
            )


def _certificate(certificate: Certificate | None) -> str:
    if certificate is None:
        return ""
    sample = certificate.sample
    sentence = "Luthier measured whether the trained, merged and served models are the same"
    text = [
        f"## Certificate: {certificate.verdict}",
        (
            f"{sentence}, on {sample.get('turns', '?')} held-out turns with"
            f" {sample.get('tokens', 0):,} tokens."
        ),
        *(f"> {reason}" for reason in certificate.reasons),
        _table(
            ("model", "engine", "mean NLL", "tokens", "ended by a stop token"),
            [
                (
                    column.model,
                    column.engine,
                    f"{column.nll:.4f}",
                    f"{column.tokens:,}",
                    _share(column.stopped, column.answers),
                )
                for column in certificate.columns
            ],
        ),
        _table(
            ("", "check", "figure", "green", "unit"), [_row(check) for check in certificate.checks]
        ),
    ]
    return "\n\n".join(text)


def _chapters(further: list[Chapter] | None) -> str:
    """A line each, without the checks: their sentences may quote the data."""
    if further is None:
        return ""
    lines = [
        f"- **{TITLES[chapter.kind]}** ({chapter.verdict}): {chapter.summary}"
        for chapter in further
    ]
    if not any(chapter.kind == "recites" for chapter in further):
        lines.append(f"- **{TITLES['recites']}**: never measured.")
    return "## Further measurements\n\n" + "\n".join(lines)


def _row(check: Check) -> tuple[str, ...]:
    bound = (
        ""
        if check.threshold is None
        else f"{'at least' if check.at_least else 'at most'} {check.threshold:.4g}"
    )
    return (
        check.verdict,
        check.name,
        "" if check.figure is None else f"{check.figure:.4g}",
        bound,
        check.unit,
    )


def _share(count: int | None, of: int | None) -> str:
    return f"{count} of {of}" if of else ""


def _usage(record: Record, name: str) -> str:
    if record.kind == "tuned":
        base = record.repository or record.base
        code = (
            "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM,"
            " AutoTokenizer\n\n"
            f'base = AutoModelForCausalLM.from_pretrained("{base}", dtype="auto")\n'
            f'model = PeftModel.from_pretrained(base, "{name}")\n'
            f'tokenizer = AutoTokenizer.from_pretrained("{name}")  # with the chat template it was'
            " trained with"
        )
    else:
        code = (
            "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
            f'model = AutoModelForCausalLM.from_pretrained("{name}", dtype="auto")\n'
            f'tokenizer = AutoTokenizer.from_pretrained("{name}")'
        )
    return f"## Use\n\n```python\n{code}\n```"


def _training(record: Record) -> str:
    if not record.recipe:
        return ""
    train, lora = record.recipe.get("train", {}), record.recipe.get("lora", {})
    rows = [(key, f"{train[key]}") for key in _SHOWN if key in train] + [
        (f"lora {key}", f"{value}") for key, value in lora.items()
    ]
    if "steps" in record.result:
        rows.append(("steps", f"{record.result['steps']}"))
    text = ["## Training", _table(("", ""), rows)]
    if record.losses:
        text.append(
            _table(
                ("step", "held-out loss"),
                [(f"{step}", f"{loss:.4f}") for step, loss in _some(record.losses)],
            )
        )
    text.append(
        "The whole recipe is in `recipe.toml`; `luthier.json` has everything else that was"
        " recorded."
    )
    return "\n\n".join(text)


def _some(losses: list[tuple[int, float]], most: int = 10) -> list[tuple[int, float]]:
    """At most ten of them, the first and the last among them."""
    if len(losses) <= most:
        return losses
    return [losses[round(index * (len(losses) - 1) / (most - 1))] for index in range(most)]


def _data(record: Record) -> str:
    if not record.data:
        return ""
    figures = record.data_figures
    tokens, trained = figures.get("tokens", 0), figures.get("trained_tokens", 0)
    sentence = (
        f"{figures.get('conversations', '?')} conversations, {tokens:,} tokens, {trained:,} of"
        " them trained."
    )
    sources = [
        str(entry.get("path", "")) if isinstance(entry, dict) else str(entry)
        for entry in record.recipe.get("data", [])
    ]
    names = f" From: {', '.join(f'`{name}`' for name in sources)}." if sources else ""
    rows = [(part.name, f"{part.samples:,}", f"`{part.hash}`") for part in record.data]
    return f"## Data\n\n{sentence}{names}\n\n{_table(('prepared samples', 'number', 'hash'), rows)}"


def _bytes(record: Record) -> str:
    rows = [
        (part, name, f"`{hash_}`")
        for part, files in record.hashes.get("base", {}).items()
        for name, hash_ in files.items()
    ]
    if "template" in record.hashes:
        rows.append(("chat template", "", f"`{record.hashes['template']}`"))
    rows += [
        ("adapter", name, f"`{hash_}`") for name, hash_ in record.hashes.get("adapter", {}).items()
    ]
    rows += [
        ("merged", name, f"`{hash_}`") for name, hash_ in record.merge.get("files", {}).items()
    ]
    return f"## Bytes\n\n{_table(('part', 'file', 'hash'), rows)}" if rows else ""


def _table(titles: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [titles, tuple("---" for _ in titles), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )
