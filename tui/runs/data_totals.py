"""What a run was trained on, in words: the ledger's totals, the samples, the chat template."""

from __future__ import annotations

from textual.content import Content

from models.events import Data, Ledger, Plan, Template
from tui.data.ledger_table import state_sign
from workshop import number_format
from workshop.runs.record import RunRecord

_STATES = ("kept", "repaired", "split", "dropped")
_MOST_REASONS = 12
_PREPARED = {True: "before, taken from the cache", False: "for this run", None: ""}


def data_totals(record: RunRecord, alive: bool) -> list[Content]:
    """In columns; one with a sentence where nothing is known."""
    data = record.data
    if data is None and alive:
        return [_muted("The data is not prepared yet: its totals come with it.")]
    if data is None:
        return [_muted("The run ended before its data was prepared.")]
    samples = Content("\n").join(_samples(record, data))
    return [Content("\n").join(_rows(data.ledger)), samples] if data.ledger else [samples]


def _rows(ledger: Ledger) -> list[Content]:
    rows, tokens = ledger.rows, ledger.tokens
    total = ledger.total_rows or sum(rows.values())
    lines = [_muted(f"{'':<11}{'rows':>7}{'tokens':>8}")]
    for state in _STATES:
        count = rows.get(state, 0)
        share = f"{100 * count / total:.1f} %" if total else ""
        sign = state_sign(state)
        figure = f"{count:>7,}{number_format.count(tokens.get(state, 0)):>8}"
        lines.append(
            Content.assemble(
                sign.pad_right(11 - sign.cell_length), figure, (f"{share:>8}", "$foreground-muted")
            )
        )
    lines.append(
        Content.styled(
            f"{'  all':<11}{total:>7,}{number_format.count(ledger.total_tokens):>8}",
            "bold",
        )
    )
    reasons = [
        (count, state, code)
        for state, codes in ledger.reasons.items()
        for code, count in codes.items()
    ]
    if reasons:
        lines += [Content(""), _title("reasons")]
    for count, state, code in sorted(reasons, reverse=True)[:_MOST_REASONS]:
        lines.append(
            Content.assemble(f"{count:>8,}  ", state_sign(state)[:1], f" {code.replace('_', ' ')}")
        )
    return lines


def _samples(record: RunRecord, data: Data) -> list[Content]:
    plan = record.plan or Plan()
    tokens, trained = data.tokens, data.trained_tokens
    share = f" ({100 * trained / tokens:.0f} %)" if tokens and trained else ""
    pairs = [
        ("conversations", _count(data.conversations)),
        ("samples to train", _count(data.train)),
        ("held out", _count(data.heldout)),
        ("tokens", number_format.count(tokens)),
        ("of which trained", f"{number_format.count(trained)}{share}" if trained else ""),
        ("longest sample", f"{data.longest:,} tokens" if data.longest else ""),
        ("prepared", _PREPARED[data.cached]),
        ("", ""),
        ("epochs", f"{plan.epochs:g}" if plan.epochs is not None else ""),
        ("global batch", _batch(plan)),
        ("chat template", _template(record.template)),
    ]
    while pairs and not pairs[-1][1]:
        pairs.pop()
    return [
        Content.assemble((f"{name:<18}", "$foreground-muted"), value)
        for name, value in pairs
        if value or not name
    ]


def _batch(plan: Plan) -> str:
    if not plan.global_batch:
        return ""
    both = plan.micro_batch and plan.accumulation
    return f"{plan.global_batch}{f' = {plan.micro_batch} x {plan.accumulation}' if both else ''}"


def _template(template: Template | None) -> str:
    checks = template.checks if template is not None else []
    if not checks:
        return ""
    odd = [check.name for check in checks if check.status != "ok"]
    return (
        f"{len(checks)} checks passed"
        if not odd
        else f"{len(checks) - len(odd)} of {len(checks)} checks passed; {', '.join(odd)}"
    )


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _title(text: str) -> Content:
    return Content.styled(text, "$primary")


def _muted(text: str) -> Content:
    return Content.styled(text, "$foreground-muted")
