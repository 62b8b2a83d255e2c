"""A run's predicted memory in words: what it is made of, what was tried, and what would fit on
which card. The command line and the app show the same lines; each names roles, which become the
one's or the other's colours."""

from __future__ import annotations

from typing import Any

from trainer.plan.autotune import Candidate
from trainer.plan.compute import Compute
from trainer.plan.memory.cards import CARDS, Table, batches, bytes_of
from trainer.plan.plan import Plan
from trainer.recipe import Recipe
from tui.shared.glyphs import glyphs
from workshop.number_format import size
from workshop.runs.chart_metrics import metric

Line = list[tuple[str, str]]
"""Texts with their roles: "", "dim", "bold", "good", "bad", or the colour of a part of the
memory."""

TITLE = metric("tensor_bytes").title
"""The plan predicts what the run measures."""

_BAR = 60
_ROLES = {
    "weights": "blue",
    "adapter": "green",
    "gradients": "green",
    "optimizer": "green",
    "activations": "amber",
    "attention mask": "red",
    "working space": "yellow",
}
_FIXED = ("weights", "adapter", "gradients", "optimizer")  # whatever the batch
KINDS = {"none": "all kept", "standard": "recomputed", "unsloth": "offloaded"}
_SETTINGS = 46  # columns
_HEAD = f"{'base':<8}{'activations':<18}"


def parts(plan: Plan, card: int | None, bar: int = _BAR) -> list[Line]:
    """The predicted peak as a bar of so many cells on the card, if there is one, and its parts;
    nothing where it cannot be told."""
    if not plan.memory:
        return []
    peak = sum(plan.memory.values())
    of = "" if card is None else f" of {size(card)}"
    lines: list[Line] = [
        [
            (f"{size(peak)}{of}", "bold"),
            (f" at the peak, predicted for {plan.tokens:,} tokens at once", "dim"),
        ],
        _bar(plan.memory, max(peak, card or 0), bar),
    ]
    cells = {name: _part(name, count) for name, count in plan.memory.items() if count}
    fixed = [cell for name, cell in cells.items() if name in _FIXED]
    moving = [cell for name, cell in cells.items() if name not in _FIXED]
    gap: Line = [(" " * sum(len(text) for text, _ in fixed[0]), "")]
    for number in range(max(len(fixed), len(moving))):
        left = fixed[number] if number < len(fixed) else gap
        lines.append([*left, ("    ", ""), *(moving[number] if number < len(moving) else [])])
    return lines


def _part(name: str, count: int) -> Line:
    return [
        (f"{glyphs().histogram} ", _ROLES[name]),
        (f"{name:<15}", ""),
        (f"{size(count):>9}", ""),
    ]


def choices(plan: Plan) -> list[Line]:
    """What was tried, the chosen settings first."""
    if not plan.choices:
        return []
    lines: list[Line] = [[(f"  {_HEAD}{'at once':>7}{'needs':>11}{'time':>7}", "dim")]]
    best = plan.choices[0]
    for candidate in plan.choices:
        role, sign = "" if candidate.fits else "dim", " "
        if candidate is best:
            role, sign = "bold", glyphs().selected
        cost = candidate.cost / best.cost
        figures = f"{candidate.compute.micro_batch:>7}{size(candidate.needs):>11}{cost:>7.2f}"
        text = f"{sign} {_kind(candidate.compute)}{figures}"
        lines.append([(text, role), (f"  {_but(candidate, best)}", "dim")])
    return lines


def trials_title(plan: Plan) -> str:
    return "measured" if plan.trials is not None and plan.trials.run else "to be measured"


def trials(plan: Plan) -> list[Line]:
    """What a run has measured of the settings that look best, the chosen one first; before that,
    what it will try. Nothing where there is nothing to choose from."""
    planned = plan.trials
    if planned is None:
        return []
    if not planned.run:
        lines: list[Line] = [
            [("Before its first step, if it is long enough, the run measures:", "")]
        ]
        return [*lines, *([(f"  {trial.in_words()}", "dim")] for trial in planned.contenders)]
    lines = [[(f"  {'settings':<{_SETTINGS}}{'tokens/s':>10}{'peak':>11}", "dim")]]
    for trial in planned.contenders:
        sign, role = (glyphs().selected, "bold") if trial is planned.best else (" ", "")
        figures = f"{trial.tokens_per_second:>10,.0f}{size(trial.peak) if trial.peak else '':>11}"
        if trial.outcome:
            role, figures = "dim", f"{trial.outcome.partition(':')[0]:>21}"
        lines.append([(f"{sign} {trial.in_words():<{_SETTINGS}}{figures}", role)])
    return [*lines, [(f"  run {planned.run}, in {planned.seconds:.0f} s", "dim")]]


def reasons(plan: Plan) -> list[Line]:
    """Why the settings are as they are, as sentences."""
    texts = [reason.text for reason in plan.reasons] + ([plan.repaired] if plan.repaired else [])
    return [[(f"{text[:1].upper()}{text[1:].rstrip('.')}.", "")] for text in texts]


def warnings(plan: Plan) -> list[Line]:
    """What a user should know before the run."""
    return [[("! ", "amber"), (warning, "")] for warning in plan.warnings]


def cards(recipe: Recipe, table: Table) -> list[Line]:
    """What would fit where: the largest micro-batch by card, then what a card must have by batch
    and context length."""
    if not table.rows:
        return [
            [
                (
                    "This model's config does not tell its shape: its memory cannot be predicted.",
                    "dim",
                )
            ]
        ]
    engine = "Unsloth" if table.engine == "unsloth" else "TRL"
    return [
        *_fits(recipe, table),
        [],
        *_needs(recipe, table),
        [],
        [(f"With {engine}, padding-free, {_what(recipe)}.", "dim")],
    ]


def _what(recipe: Recipe) -> str:
    return "full fine-tuning" if recipe.train.method == "full" else f"LoRA r {recipe.lora.r}"


def _fits(recipe: Recipe, table: Table) -> list[Line]:
    columns = [(bytes_of(card), str(card)) for card in CARDS]
    if table.here is not None:
        columns.append((table.here, "here"))
    title = f"Most conversations of {recipe.train.max_length:,} tokens at once, by the card's GB"
    lines: list[Line] = [
        [(title, "bold")],
        [(_HEAD + "".join(f"{name:>5}" for _, name in columns), "dim")],
    ]
    for row in table.rows:
        line: Line = [(_kind(row.compute), "")]
        for card, _ in columns:
            count = row.fits[card]
            text = str(count) if count else glyphs().dot
            text = "64+" if count == 64 else text
            line.append((f"{text:>5}", "good" if count else "dim"))
        lines.append(line)
    return lines


def _needs(recipe: Recipe, table: Table) -> list[Line]:
    sizes = batches(recipe)
    title = "GB that a card must have, by conversations and their tokens"
    head = "".join(f"{f'{count}x{_length(length)}':>7}" for count, length in sizes)
    lines: list[Line] = [[(title, "bold")], [(_HEAD + head, "dim")]]
    for row in table.rows:
        line: Line = [(_kind(row.compute), "")]
        for batch in sizes:
            need = row.needs[batch]
            role = ""
            if table.here is not None:
                role = "good" if need <= table.here else "dim"
            line.append((f"{need / 1e9:>7.1f}" if need < 1e12 else f"{need / 1e9:>7.0f}", role))
        lines.append(line)
    return lines


def as_json(table: Table) -> dict[str, Any]:
    names = {bytes_of(card): f"{card} GB" for card in CARDS}
    rows = [
        {
            "base_bits": row.compute.base_bits,
            "gradient_checkpointing": row.compute.gradient_checkpointing,
            "largest_micro_batch": {
                names.get(card, "here"): count for card, count in row.fits.items()
            },
            "batches": [
                {
                    "conversations": batch[0],
                    "length": batch[1],
                    "peak": peak,
                    "needs": row.needs[batch],
                }
                for batch, peak in row.peaks.items()
            ],
        }
        for row in table.rows
    ]
    return {"engine": table.engine, "here": table.here, "rows": rows}


def _kind(compute: Compute) -> str:
    bits = f"{compute.base_bits}-bit"
    return f"{bits:<8}{KINDS[compute.gradient_checkpointing]:<18}"


def _bar(memory: dict[str, int], total: int, width: int) -> Line:
    """Each part's cells; a part that has some memory has a cell if a bar of that width can show
    it."""
    line: Line = []
    done, drawn = 0, 0
    for name, count in memory.items():
        done += count
        cells = round(width * done / total) - drawn
        drawn += cells
        if cells:
            line.append((glyphs().histogram * cells, _ROLES[name]))
    return [*line, (glyphs().bar_rest * (width - drawn), "dim")]


def _but(candidate: Candidate, best: Candidate) -> str:
    """What speaks against it and is not in the figures."""
    if not candidate.fits:
        return "does not fit"
    return "fewer bits" if candidate.compute.base_bits < best.compute.base_bits else ""


def _length(length: int) -> str:
    return f"{length // 1024}k" if length >= 1024 and length % 1024 == 0 else str(length)
