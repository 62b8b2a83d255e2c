"""What `luthier make` says of its plan and its result."""

from __future__ import annotations

from typing import Any

import msgspec

from tui.commands.output import (
    plain_table,
    print_json,
    say_aside,
    say_done,
    say_warning,
    styled,
    talk,
)
from workshop.making.ledger import REASONS
from workshop.making.names import CARD_FILE, ORIGINS, RECIPE_FILE
from workshop.making.order import Order
from workshop.making.preview import Plan

_EXCERPT = 160


def show_plan(order: Order, plan: Plan, as_json: bool) -> None:
    if as_json:
        print_json(msgspec.to_builtins(plan))
        return
    table = plain_table("document", "kind", "language", "characters", "passages", "left out")
    for document in plan.documents:
        left_out = ", ".join(f"{name}: {count:,}" for name, count in document.left_out.items())
        table.add_row(
            document.file,
            document.kind,
            document.language,
            f"{document.characters:,}",
            f"{document.passages:,}",
            left_out,
        )
    talk.print(table)
    if order.making.recipe.method == "dialogue":
        _show_speakers(plan)
    for example in plan.examples:
        text = example.text[:_EXCERPT] + ("..." if len(example.text) > _EXCERPT else "")
        talk.print(styled("\n[dim]$where[/]\n$text", where=example.location.in_words, text=text))
    talk.print(f"\n{plan.usable:,} of {plan.passages:,} passages can be used.")
    if order.terms is not None:
        cost = f", a cost of {plan.most_cost:g}," if plan.most_cost else ""
        talk.print(
            f"About {plan.requests:,} requests to {order.terms.model}; they take"
            f" {plan.most_tokens:,} tokens{cost} at the very most. Nothing was asked."
        )


def _show_speakers(plan: Plan) -> None:
    table = plain_table("speaker", "becomes", "turns", "words", "begins")
    for speaker in plan.speakers:
        name = speaker.name or "(nobody)"
        row = (name, speaker.role or "?", f"{speaker.turns:,}", f"{speaker.words:,}", speaker.first)
        table.add_row(*row)
    talk.print(table)
    if plan.unclear:
        say_warning(plan.unclear)


def show_result(order: Order, result: dict[str, Any]) -> None:
    total = result["train"] + result["heldout"]
    say_done(
        f"{total:,} conversations of {result['passages']:,} passages",
        f"{result['heldout']:,} of them held out",
    )
    for code, count in sorted(result["reasons"].items(), key=lambda item: -item[1]):
        talk.print(styled("  [dim]$count: $reason[/]", count=f"{count:,}", reason=REASONS[code]))
    if result.get("at_ceiling") and order.terms is not None:
        say_warning(
            f"{result['unanswered']:,} passages are open: one more request might exceed"
            f" {order.terms.ceiling.in_words}. The same command with a higher ceiling continues."
        )
    elif result["unanswered"]:
        say_warning(
            f"{result['unanswered']:,} passages have no answer: {result['first_failure']}. The same"
            " command asks again."
        )
    say_aside(f"  {order.out}: {CARD_FILE} describes them, {ORIGINS}/ has the ledger and the texts")
    if total:
        say_aside(f"  train on them: luthier train {order.out}/{RECIPE_FILE}")
