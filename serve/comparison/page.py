"""A comparison as one HTML page that needs nothing beside it: no script, no font, no network; light
or dark as the reader's machine is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from importlib import resources
from typing import Any

from serve.comparison.readings import WORDS
from serve.comparison.report import columns, tables
from serve.comparison.summary import Row
from serve.comparison.why_text import (
    FLIP_NOTE,
    SLICE_NOTE,
    WORD_NOTE,
    Table,
    cluster_note,
    difference,
    in_short,
    measure_note,
    value,
)
from serve.comparison.why_text import columns as sliced_columns

_WIDTH, _HEIGHT = 220.0, 18.0  # of a small chart
_EDGE = 6.0
_LINKS = 10
_FEW_ANSWERS = 12  # prompts that are shown open


def html(
    title: str,
    facts: Sequence[tuple[str, str]],
    summary: dict[str, Any],
    rows: Sequence[Row],
    models: Sequence[str],
) -> str:
    why: dict[str, Any] = summary.get("why") or {"models": {}, "noise": ""}
    return "\n".join(
        [
            "<!doctype html><html lang=en><meta charset=utf-8>"
            "<meta name=viewport content='width=device-width, initial-scale=1'>"
            f"<title>{escape(title)}</title><style>{_style()}</style>",
            f"<header><h1>{escape(title)}</h1>{_facts(facts)}</header>",
            *_short(why),
            *(part for model in why["models"] for part in _why(model, why, rows, models)),
            *_tables(summary),
            *_detectors(why),
            *_answers(why, rows, models),
            "",
        ]
    )


def _style() -> str:
    return resources.files("serve.comparison").joinpath("page.css").read_text(encoding="utf-8")


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    lines = (
        f"<dt{' class=red' if name == 'red certificate' else ''}>{escape(name)}<dd>{escape(text)}"
        for name, text in facts
    )
    return f"<dl>{''.join(lines)}</dl>"


def _short(why: dict[str, Any]) -> Iterator[str]:
    if not why["models"]:
        return
    lines = "".join(f"<li>{escape(line)}" for line in in_short(why))
    yield f"<section class=short><h2>In short</h2><ul>{lines}</ul></section>"


def _why(
    model: str, why: dict[str, Any], rows: Sequence[Row], models: Sequence[str]
) -> Iterator[str]:
    """One tuned model's figures, changes, words, slices and flips."""
    of_model = why["models"][model]
    yield f"<section><h2>Why {escape(model)} differs</h2>"
    yield _measures(of_model, why["noise"])
    yield f"<p class=note>{escape(measure_note(why))}</p>"
    if of_model["clusters"]:
        yield f"<h3>What changed</h3>{_clusters(of_model, why['noise'])}"
        yield f"<p class=note>{escape(cluster_note(why))}</p>"
    if of_model["words"]["came"] or of_model["words"]["went"]:
        yield f"<h3>Words</h3>{_words(of_model)}<p class=note>{escape(WORD_NOTE)}</p>"
    for column in sliced_columns(of_model):
        yield f"<h3>By {escape(column)}</h3>{_slices(of_model, column)}"
        yield f"<p class=note>{escape(SLICE_NOTE)}</p>"
    if of_model["flips"]:
        yield f"<h3>Prompts that flipped</h3><p class=note>{escape(FLIP_NOTE)}</p>"
        for flip in of_model["flips"]:
            row = rows[flip["question"] - 1]
            yield _answer(flip["question"], row, [models[0], model], flip["changes"], "flip")
    yield "</section>"


def _measures(of_model: dict[str, Any], noise: str) -> str:
    legend = "<span class=base>○ base</span> <span class=tuned>● tuned</span>"
    if noise:
        legend += " <span class=seeds>▬ two seeds</span>"
    lines = [f"<table class=measures><tr><th>figure<th>{legend}<th>base<th>tuned<th>difference<th>"]
    for measure in of_model["measures"]:
        lines.append(
            f"<tr class={measure['reading']}><td>{escape(measure['name'])}<td>{_dumbbell(measure)}"
            f"<td>{value(measure, measure['base'])}<td>{value(measure, measure['tuned'])}"
            f"<td>{escape(difference(measure))}<td>{_badge(measure['reading'])}"
        )
    return "".join([*lines, "</table>"])


def _dumbbell(measure: dict[str, Any]) -> str:
    """Base and tuned on one axis from 0; the band is how far two seeds may lie apart."""
    base, tuned = measure["base"], measure["tuned"]
    if base is None or tuned is None:
        return ""
    most = 1.0 if measure["kind"] == "share" else 1.15 * max(base, tuned, 1e-9)

    def at(number: float) -> float:
        return _EDGE + (_WIDTH - 2 * _EDGE) * min(1.0, max(0.0, number / most))

    middle = _HEIGHT / 2
    band = ""
    if measure["unit"] is not None:
        low, high = (_moved(measure, base, sign) for sign in (-1, 1))
        band = (
            f"<rect class=seeds x={at(low):.1f} y=3 width={max(1.0, at(high) - at(low)):.1f}"
            f" height={_HEIGHT - 6:.0f} />"
        )
    return (
        f"<svg viewBox='0 0 {_WIDTH:g} {_HEIGHT:g}' role=img>"
        f"<line class=axis x1={_EDGE} x2={_WIDTH - _EDGE} y1={middle} y2={middle} />{band}"
        f"<line class=step x1={at(base):.1f} x2={at(tuned):.1f} y1={middle} y2={middle} />"
        f"<circle class=base cx={at(base):.1f} cy={middle} r=4 />"
        f"<circle class=tuned cx={at(tuned):.1f} cy={middle} r=4.5 /></svg>"
    )


def _moved(measure: dict[str, Any], base: float, sign: int) -> float:
    """Where the seeds' unit leads from the base, on the axis of the figure."""
    if measure["kind"] == "times":
        return float((base + 1) * math.exp(sign * measure["unit"]) - 1)
    return float(base + sign * measure["unit"])


def _clusters(of_model: dict[str, Any], noise: str) -> str:
    prompts = of_model["prompts"]
    lines = ["<table class=clusters><tr><th>change<th><th>prompts<th>the other way"]
    lines.append(f"{'<th>two seeds' if noise else ''}<th><th>where")
    for cluster in of_model["clusters"]:
        count = len(cluster["questions"])
        seeds = f"<td>{cluster['seeds']}" if noise else ""
        links = " ".join(
            f"<a href=#q{number}>{number}</a>" for number in cluster["questions"][:_LINKS]
        ) + (" …" if count > _LINKS else "")
        lines.append(
            f"<tr class={cluster['reading']}><td><small>{cluster['dimension']}</small>"
            f" {escape(cluster['change'])}<td>{_bar(count, cluster['seeds'], prompts)}"
            f"<td>{count}<td>{cluster['back']}{seeds}<td>{_badge(cluster['reading'])}<td>{links}"
        )
    return "".join([*lines, "</table>"])


def _bar(count: int, seeds: int | None, prompts: int) -> str:
    width = _WIDTH * 0.7

    def long(number: int) -> float:
        return width * number / max(1, prompts)

    seeds_mark = (
        ""
        if seeds is None
        else f"<line class=mark x1={long(seeds):.1f} x2={long(seeds):.1f} y1=1 y2={_HEIGHT - 1} />"
    )
    return (
        f"<svg class=bar viewBox='0 0 {width:g} {_HEIGHT:g}' role=img>"
        f"<rect class=track x=0 y=5 width={width:g} height=8 rx=4 />"
        f"<rect class=count x=0 y=5 width={max(2.0, long(count)):.1f} height=8 rx=4 />"
        f"{seeds_mark}</svg>"
    )


def _words(of_model: dict[str, Any]) -> str:
    parts = []
    for name, sign, side in (("came", "+", "tuned"), ("went", "−", "base")):
        chips = "".join(
            f"<span class=chip>{escape(word['word'])} <small>{sign}{word[side]}</small></span>"
            for word in of_model["words"][name]
        )
        if chips:
            parts.append(f"<p class=words><b>{name}</b> {chips}</p>")
    return "".join(parts)


def _slices(of_model: dict[str, Any], column: str) -> str:
    parts = [part for part in of_model["slices"] if part["column"] == column]
    names = [measure["name"] for measure in parts[0]["measures"]]
    heads = "".join(f"<th>{escape(name)}<th>" for name in names)
    lines = [f"<table class=slices><tr><th>{escape(column)}<th>prompts<th>flipped{heads}"]
    reaches = [
        max(
            (
                max(abs(bound) for bound in part["measures"][number]["interval"])
                for part in parts
                if part["measures"][number]["reading"] != "few"
            ),
            default=1.0,
        )
        for number in range(len(names))
    ]
    for part in parts:
        cells = "".join(
            _slice_cells(measure, reach)
            for measure, reach in zip(part["measures"], reaches, strict=True)
        )
        lines.append(
            f"<tr><td>{escape(part['value'])}<td>{part['prompts']}<td>{part['flipped']}{cells}"
        )
    return "".join([*lines, "</table>"])


def _slice_cells(measure: dict[str, Any], reach: float) -> str:
    if measure["reading"] == "few":
        return f"<td><td class=few>{WORDS['few']}"
    badge = "" if measure["reading"] == "clear" else f" {_badge(measure['reading'])}"
    return f"<td>{_interval(measure, reach)}<td>{escape(difference(measure))}{badge}"


def _interval(measure: dict[str, Any], reach: float) -> str:
    """The difference with its interval, zero in the middle."""
    width = _WIDTH * 0.7

    def at(number: float) -> float:
        return width / 2 + (width / 2 - _EDGE) * max(-1.0, min(1.0, number / (reach or 1.0)))

    low, high = measure["interval"]
    middle = _HEIGHT / 2
    return (
        f"<svg class=bar viewBox='0 0 {width:g} {_HEIGHT:g}' role=img>"
        f"<line class=mark x1={width / 2:g} x2={width / 2:g} y1=0 y2={_HEIGHT:g} />"
        f"<line class=step x1={at(low):.1f} x2={at(high):.1f} y1={middle} y2={middle} />"
        f"<circle class=tuned cx={at(measure['difference']):.1f} cy={middle} r=4 /></svg>"
    )


def _badge(reading: str) -> str:
    words = WORDS[reading]  # type: ignore[index]
    return f"<span class='badge {reading}'>{escape(words)}</span>"


def _tables(summary: dict[str, Any]) -> Iterator[str]:
    """The parts that say how much, not why."""
    for heading, table, note in tables({**summary, "why": {"models": {}, "noise": ""}}):
        yield f"<section><h2>{escape(heading)}</h2>{_table(table)}"
        yield f"<p class=note>{escape(note)}</p></section>"


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(cell)}" for cell in table[0])
    lines = ("<tr>" + "".join(f"<td>{escape(cell)}" for cell in line) for line in table[1:])
    return f"<table><tr>{head}{''.join(lines)}</table>"


def _detectors(why: dict[str, Any]) -> Iterator[str]:
    if why["models"]:
        lines = "".join(
            f"<dt>{escape(name)}<dd>{escape(how)}" for name, how in why["detectors"].items()
        )
        yield f"<section><h2>How it was seen</h2><dl>{lines}</dl></section>"


def _answers(why: dict[str, Any], rows: Sequence[Row], models: Sequence[str]) -> Iterator[str]:
    yield "<section><h2>Every answer</h2>"
    for number, row in enumerate(rows, start=1):
        changed = [
            f"{model}: {change}" if len(why["models"]) > 1 else change
            for model, of_model in why["models"].items()
            for change in of_model["changes"].get(str(number), [])
        ]
        yield _answer(number, row, models, changed, "open" if number <= _FEW_ANSWERS else "")
    yield "</section>"


def _answer(
    number: int, row: Row, models: Sequence[str], changed: Sequence[str], state: str
) -> str:
    """A prompt with its answers. A flip's is a copy: the one below has the anchor."""
    chips = "".join(f"<span class=chip>{escape(change)}</span>" for change in changed)
    is_flip = state == "flip"
    articles = []
    for name, text, failed in columns(row, models):
        style = " class=failed" if failed else ""
        articles.append(
            f"<article><h4>{escape(name)}</h4><div{style}>{escape(text)}</div></article>"
        )
    return (
        f"<details{'' if is_flip else f' id=q{number}'}{' open' if state == 'open' else ''}>"
        f"<summary><span class=number>{number}</span>"
        f"<span class=question>{escape(row.item.question)}</span>{chips}</summary>"
        f"<div class=answers>{''.join(articles)}</div></details>"
    )
