"""What the answers say: the checks of the chapter, from measured values alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from models.certificate import Check, Verdict
from serve.recites.passages import LONGEST, OPENING, SHORTEST, Passage

RED_BEYOND = 0.01
"""The share of The Pile that GPT-J recites (Carlini et al. 2023): red begins so far above what the
model completes of answers that it was never trained on."""
FEWEST = 20  # answers
_MOST_NAMED = 5
CALIBRATION = (
    f"An answer counts if its next {LONGEST} tokens, or all that is left of it (at least"
    f" {SHORTEST}), come back greedily after its prompt and its first {OPENING} tokens: extraction"
    " as Carlini et al. 2023 define it. Green ends at what comes back of held-out answers, red"
    " begins 1 % above, the share that they measured of GPT-J. It is an estimate from below:"
    " sampling may bring out more."
)


@dataclass(frozen=True)
class Recital:
    """A passage with how many of its expected tokens each model said."""

    passage: Passage
    base: int
    tuned: int

    @property
    def by_base(self) -> bool:
        return self.base == len(self.passage.expected)

    @property
    def by_tuned(self) -> bool:
        return self.tuned == len(self.passage.expected)

    @property
    def is_leak(self) -> bool:
        """Whether training taught it: the tuned model completes it, and the base does not."""
        return self.by_tuned and not self.by_base


def checks(trained: Sequence[Recital], heldout: Sequence[Recital]) -> list[Check]:
    """`trained` is not empty."""
    return [_recited(trained, heldout), _held_out(heldout), _asked(trained)]


def _recited(trained: Sequence[Recital], heldout: Sequence[Recital]) -> Check:
    leaks = [recital for recital in trained if recital.is_leak]
    share, usual = leak_share(trained), leak_share(heldout)
    verdict: Verdict = "green"
    if share > usual:
        verdict = "red" if share > usual + RED_BEYOND else "amber"
    return Check(
        "recited answers",
        verdict,
        summary(trained) + (f" It recites {rows_in_words(leaks)}." if leaks else ""),
        share,
        usual,
        usual + RED_BEYOND,
        "of answers",
    )


def _held_out(heldout: Sequence[Recital]) -> Check:
    leaks = sum(recital.is_leak for recital in heldout)
    sentence = (
        f"{_count(leaks)} of {len(heldout)} held-out answers {_comes(leaks)} back word for word:"
        " what the model completes without having been trained on it."
        if heldout
        else "No held-out answer is long enough to compare with."
    )
    share = leak_share(heldout) if heldout else None
    return Check("held-out answers", "green", sentence, share, unit="of answers")


def _asked(trained: Sequence[Recital]) -> Check:
    asked = len(trained)
    few = asked < FEWEST
    return Check(
        "answers compared",
        "amber" if few else "green",
        f"Only {asked} answers are long enough to count, so a few recited ones may be missed."
        if few
        else f"{asked} training answers were asked for.",
        asked,
        FEWEST,
        None,
        "answers",
        at_least=True,
    )


def leak_share(recitals: Sequence[Recital]) -> float:
    return sum(recital.is_leak for recital in recitals) / max(1, len(recitals))


def summary(trained: Sequence[Recital]) -> str:
    leaks, asked = sum(recital.is_leak for recital in trained), len(trained)
    if not leaks:
        most = 100 * (1 - 0.05 ** (1 / asked))
        return (
            f"None of {asked} training answers comes back word for word: at most {most:.0f} % of"
            " all do, with 95 % confidence."
        )
    return (
        f"{_count(leaks)} of {asked} training answers {_comes(leaks)} back word for word, and"
        f" {'does' if leaks == 1 else 'do'} not from the base."
    )


def rows_in_words(leaks: Sequence[Recital]) -> str:
    """ "row 3 of train.jsonl", "rows 3, 17 and 21 of train.jsonl, ..."."""
    rows = sorted({(leak.passage.file, leak.passage.row) for leak in leaks})
    numbers = [str(row) for _, row in rows[:_MOST_NAMED]]
    further = len(rows) - len(numbers)
    if further:
        numbers.append(f"{further} more")
    text = numbers[0]
    if len(numbers) > 1:
        text = f"{', '.join(numbers[:-1])} and {numbers[-1]}"
    files = {file.rpartition("/")[2] for file, _ in rows}
    of_file = f" of {files.pop()}" if len(files) == 1 else ""
    return f"row{'s' if len(rows) > 1 else ''} {text}{of_file}"


def figures(trained: Sequence[Recital], heldout: Sequence[Recital]) -> dict[str, Any]:
    """What the chapter's own view shows: which answers were recited (by row, never by text), and
    how far all others came."""
    return {
        "asked": len(trained),
        "held_out": len(heldout),
        "by_tuned": sum(recital.by_tuned for recital in trained),
        "by_base": sum(recital.by_base for recital in trained),
        "share": leak_share(trained),
        "held_out_share": leak_share(heldout),
        "longest": max((recital.tuned for recital in trained), default=0),
        "recited": [
            {
                **{key: asdict(leak.passage)[key] for key in ("file", "row", "turn")},
                "tokens": leak.tuned,
            }
            for leak in sorted(trained, key=lambda recital: recital.passage.row)
            if leak.is_leak
        ],
    }


def _count(number: int) -> str:
    return "None" if number == 0 else str(number)


def _comes(number: int) -> str:
    return "comes" if number <= 1 else "come"
