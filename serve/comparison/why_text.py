"""Why the answers differ, in tables and sentences: the same for terminal, screen, Markdown and
HTML."""

from __future__ import annotations

import math
from typing import Any

from serve.comparison.readings import WORDS

Table = list[list[str]]
_EXAMPLES = 4
_NEAR = {"chrF", "exact match"}


def why_tables(why: dict[str, Any]) -> list[tuple[str, Table, str]]:
    """Title, table and note of each part, of each tuned model."""
    parts: list[tuple[str, Table, str]] = []
    for model, of_model in why["models"].items():
        measures = measure_table(of_model, why["noise"])
        parts.append((f"Why {model} differs", measures, measure_note(why)))
        if of_model["clusters"]:
            note = cluster_note(why)
            parts.append((f"What changed in {model}", cluster_table(of_model, why["noise"]), note))
        if of_model["words"]["came"] or of_model["words"]["went"]:
            parts.append((f"Words of {model}", word_table(of_model), WORD_NOTE))
        parts += [
            (f"{model} by {column}", slice_table(of_model, column), SLICE_NOTE)
            for column in columns(of_model)
        ]
        if of_model["flips"]:
            parts.append((f"Prompts that flipped in {model}", flip_table(of_model), FLIP_NOTE))
    return parts


def in_short(why: dict[str, Any]) -> list[str]:
    """The clear findings in sentences; that there are none, where there are none."""
    sentences: list[str] = []
    for model, of_model in why["models"].items():
        lines = _findings(of_model, why["few"])
        sentences += lines if len(why["models"]) == 1 else [f"{model}: {line}" for line in lines]
    return [f"{line[:1].upper()}{line[1:]}" for line in sentences]


def _findings(of_model: dict[str, Any], few: int) -> list[str]:
    prompts = of_model["prompts"]
    if prompts < few:
        return [f"{prompts} prompts are too few to say anything."]
    lines = [
        _measure_sentence(measure)
        for measure in of_model["measures"]
        if measure["reading"] == "clear"
    ]
    came = [word["word"] for word in of_model["words"]["came"][:5]]
    if came:
        lines.append(f"new words are {', '.join(came)}.")
    flips = len(of_model["flips"])
    lines.append(
        f"{flips} of {prompts} prompts flipped; {of_model['changed']} changed in some way."
    )
    return lines


def columns(of_model: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(part["column"] for part in of_model["slices"]))


def measure_table(of_model: dict[str, Any], noise: str) -> Table:
    heading = ["figure", "base", "tuned", "difference [95 %]"]
    rows = [[*heading, *(["two seeds"] if noise else []), "reading"]]
    for measure in of_model["measures"]:
        rows.append(
            [
                measure["name"],
                value(measure, measure["base"]),
                value(measure, measure["tuned"]),
                difference(measure),
                *([unit(measure)] if noise else []),
                WORDS[measure["reading"]],
            ]
        )
    return rows


def cluster_table(of_model: dict[str, Any], noise: str) -> Table:
    heading = ["change", "prompts", "the other way"]
    rows = [[*heading, *(["two seeds"] if noise else []), "reading", "for example"]]
    for cluster in of_model["clusters"]:
        examples = [f"#{number}" for number in cluster["questions"][:_EXAMPLES]]
        rows.append(
            [
                cluster["change"],
                f"{len(cluster['questions'])} of {of_model['prompts']}",
                str(cluster["back"]),
                *([str(cluster["seeds"])] if noise else []),
                WORDS[cluster["reading"]],
                " ".join(examples) + (" …" if len(cluster["questions"]) > _EXAMPLES else ""),
            ]
        )
    return rows


def word_table(of_model: dict[str, Any]) -> Table:
    rows = [["word", "only base has it", "only tuned has it", "p"]]
    for word in [*of_model["words"]["came"], *of_model["words"]["went"]]:
        rows.append([word["word"], str(word["base"]), str(word["tuned"]), f"{word['p_value']:.2g}"])
    return rows


def slice_table(of_model: dict[str, Any], column: str) -> Table:
    parts = [part for part in of_model["slices"] if part["column"] == column]
    names = [f"{measure['name']} [95 %]" for measure in parts[0]["measures"]]
    rows = [[column, "prompts", "flipped", *names]]
    for part in parts:
        cells = [_slice_cell(measure) for measure in part["measures"]]
        rows.append([part["value"], str(part["prompts"]), str(part["flipped"]), *cells])
    return rows


def _slice_cell(measure: dict[str, Any]) -> str:
    if measure["reading"] == "few":
        return WORDS["few"]
    word = "" if measure["reading"] == "clear" else f" {WORDS[measure['reading']]}"
    return f"{difference(measure)}{word}"


def flip_table(of_model: dict[str, Any]) -> Table:
    return [
        ["prompt", "what changed"],
        *([f"#{flip['question']}", ", ".join(flip["changes"])] for flip in of_model["flips"]),
    ]


def measure_note(why: dict[str, Any]) -> str:
    note = (
        "Paired by prompt: the interval is the paired bootstrap's, and “clear” takes an exact sign"
        " test below 0.05 that counts how many figures were looked at (Holm)."
    )
    if why["noise"]:
        note += (
            f" Two seeds: how far {why['noise']}, which differs by its seed, may lie from the tuned"
            " model (the far end of the 95 % interval). A smaller difference is within two seeds."
        )
    else:
        note += " --noise RUN, a run of another seed, shows which differences seeds make too."
    return f"{note} {why.get('problem', '')}".strip()


def cluster_note(why: dict[str, Any]) -> str:
    note = "Each prompt counts in every change that it shows."
    if why["noise"]:
        note += " Two seeds: in how many prompts the two seeds' answers differ in the same way."
    return note


WORD_NOTE = (
    "Prompts in which only one of the two answers has the word; those with an exact p below 0.05,"
    " counting all words that were looked at."
)
SLICE_NOTE = (
    "The difference to the base. Unless a slice says otherwise it is clear, counting how many"
    " slices were looked at (Holm)."
)
FLIP_NOTE = (
    "A prompt flips if its result changes: nearer or farther from the reference, refused or"
    " answered, another language."
)


def value(measure: dict[str, Any], number: float | None) -> str:
    if number is None:
        return ""
    if measure["kind"] == "share":
        return f"{number:.0%}"
    return f"{number:.3g}"


def difference(measure: dict[str, Any]) -> str:
    low, high = measure["interval"]
    kind = measure["kind"]
    return f"{_signed(kind, measure['difference'])} [{_signed(kind, low)}, {_signed(kind, high)}]"


def unit(measure: dict[str, Any]) -> str:
    if measure["unit"] is None:
        return ""
    kind, size = measure["kind"], measure["unit"]
    return f"×{math.exp(size):.2f}" if kind == "times" else f"±{_signed(kind, size).lstrip('+')}"


def _signed(kind: str, number: float) -> str:
    if kind == "times":
        return f"×{math.exp(number):.2f}"
    text = f"{100 * number:+.0f} pp" if kind == "share" else f"{number:+.3g}"
    return text.replace("-", "−").replace("−0 pp", "+0 pp")


def _measure_sentence(measure: dict[str, Any]) -> str:
    name, base, tuned = (
        measure["name"],
        value(measure, measure["base"]),
        value(measure, measure["tuned"]),
    )
    if measure["kind"] == "times":
        direction = "longer" if measure["difference"] > 0 else "shorter"
        return f"answers are {direction}, {tuned} words where the base has {base}."
    if name in _NEAR:
        direction = "nearer to" if measure["difference"] > 0 else "farther from"
        return f"answers are {direction} the references, {name} {tuned} where the base has {base}."
    return f"{name} in {tuned} of the answers (base {base})."
