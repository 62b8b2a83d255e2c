"""What the chat screen says of answers, settings and models, in one line each."""

from __future__ import annotations

from tui import actions
from tui.chat_session import ChatSettings, Complete, Halted, Turn
from tui.glyphs import glyphs


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 0.9995 else f"{value:.1f} s"


def figures(turn: Turn) -> list[str]:
    """ "TTFT 130 ms", "212 tokens", "94.1 tok/s", "stop": how the answer came, and why it ended."""
    match turn.state:
        case Complete(finished):
            parts = [f"TTFT {_seconds(finished.time_to_first_token)}"] if finished.time_to_first_token is not None else []
            tokens = finished.completion_tokens
            parts.append(f"{tokens} token{'' if tokens == 1 else 's'}")
            if speed := finished.tokens_per_second:
                parts.append(f"{speed:.1f} tok/s")
            parts.append("cut at max tokens" if finished.reason == "length" else finished.reason)
        case Halted(time_to_first_token, seconds):
            parts = [f"TTFT {_seconds(time_to_first_token)}"] if time_to_first_token is not None else []
            parts.append(f"stopped by you after {_seconds(seconds)}")
        case _:
            parts = []
    return parts


def figures_line(turn: Turn) -> str:
    return _dotted(figures(turn))


def _dotted(parts: list[str]) -> str:
    return f" {glyphs().dot} ".join(parts)


def figures_rows(turn: Turn, width: int) -> list[str]:
    """The figures in as many rows as they need, none cut in two."""
    rows: list[list[str]] = [[]]
    for part in figures(turn):
        if rows[-1] and len(_dotted([*rows[-1], part])) > width:
            rows.append([])
        rows[-1].append(part)
    return [_dotted(row) for row in rows]


def key_of(action_id: str) -> str:
    """The key that does it, as it is shown."""
    return next(action.key_names[0] for action in actions.actions_of("chat") if action.id == action_id)


def settings_line(settings: ChatSettings) -> str:
    sampling = settings.sampling
    parts = [
        f"temperature {sampling.temperature:g}",
        f"top-p {sampling.top_p:g}",
        f"max {sampling.max_tokens}",
        f"seed {sampling.seed}" if sampling.seed is not None else "random seed",
    ]
    system = " ".join(settings.system.split())
    parts.append(f"system: {system}" if system else "no system prompt")
    return _dotted(parts)
