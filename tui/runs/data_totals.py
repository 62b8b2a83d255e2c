"""What a run was trained on, in words: the ledger's totals, the samples, the chat template."""

from __future__ import annotations

from typing import Any

from textual.content import Content

from tui.data.ledger_table import state_sign
from tui.runs.plots import spaced
from workshop import number_format
from workshop.runs.record import RunRecord

_STATES = ("kept", "repaired", "split", "dropped")
_MOST_REASONS = 12


def data_totals(record: RunRecord) -> list[Content]:
    """In columns; one with a sentence while nothing is known."""
    data = record.data
    if not data:
        return [
            Content.styled(
                "The data is not prepared yet: its totals come with it.", "$foreground-muted"
            )
        ]
    ledger = data.get("ledger")
    left = _rows(ledger) if isinstance(ledger, dict) else []
    return (
        [Content("\n").join(left), Content("\n").join(_samples(record))]
        if left
        else [Content("\n").join(_samples(record))]
    )


def _rows(ledger: dict[str, Any]) -> list[Content]:
    rows, tokens = ledger.get("rows", {}), ledger.get("tokens", {})
    total = int(ledger.get("total_rows") or sum(rows.values()))
    lines = [_muted(f"{'':<11}{'rows':>8}{'tokens':>10}")]
    for state in _STATES:
        count = int(rows.get(state, 0))
        share = f"{100 * count / total:.1f} %" if total else ""
        sign = state_sign(state)
        figure = f"{spaced(count):>8}{number_format.count(tokens.get(state, 0)):>10}"
        lines.append(
            Content.assemble(
                sign.pad_right(11 - sign.cell_length), figure, (f"{share:>9}", "$foreground-muted")
            )
        )
    lines.append(
        Content.styled(
            f"{'  all':<11}{spaced(total):>8}{number_format.count(ledger.get('total_tokens')):>10}",
            "bold",
        )
    )
    reasons = [
        (count, state, code)
        for state, codes in (ledger.get("reasons") or {}).items()
        for code, count in codes.items()
    ]
    if reasons:
        lines += [Content(""), _title("reasons")]
    for count, state, code in sorted(reasons, reverse=True)[:_MOST_REASONS]:
        lines.append(
            Content.assemble(
                f"{spaced(count):>8}  ", state_sign(state)[:1], f" {code.replace('_', ' ')}"
            )
        )
    return lines


def _samples(record: RunRecord) -> list[Content]:
    data, plan = record.data, record.plan
    tokens, trained = data.get("tokens"), data.get("trained_tokens")
    share = f" ({100 * trained / tokens:.0f} %)" if tokens and trained else ""
    pairs = [
        ("conversations", _count(data.get("conversations"))),
        ("samples to train", _count(data.get("train"))),
        ("held out", _count(data.get("heldout"))),
        ("tokens", number_format.count(tokens)),
        ("of which trained", f"{number_format.count(trained)}{share}" if trained else ""),
        ("longest sample", f"{spaced(int(data['longest']))} tokens" if data.get("longest") else ""),
        (
            "prepared",
            "before, taken from the cache"
            if data.get("cached")
            else "for this run"
            if "cached" in data
            else "",
        ),
        ("", ""),
        (
            "epochs",
            f"{plan.get('epochs'):g}" if isinstance(plan.get("epochs"), int | float) else "",
        ),
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


def _batch(plan: dict[str, Any]) -> str:
    if not plan.get("global_batch"):
        return ""
    split = (
        f" = {plan['micro_batch']} x {plan['accumulation']}"
        if plan.get("micro_batch") and plan.get("accumulation")
        else ""
    )
    return f"{plan['global_batch']}{split}"


def _template(template: dict[str, Any]) -> str:
    checks = template.get("checks") or []
    if not checks:
        return ""
    odd = [str(check.get("name")) for check in checks if check.get("status") != "ok"]
    return (
        f"{len(checks)} checks passed"
        if not odd
        else f"{len(checks) - len(odd)} of {len(checks)} checks passed; {', '.join(odd)}"
    )


def _count(value: Any) -> str:
    return spaced(int(value)) if isinstance(value, int | float) else ""


def _title(text: str) -> Content:
    return Content.styled(text, "$primary")


def _muted(text: str) -> Content:
    return Content.styled(text, "$foreground-muted")
