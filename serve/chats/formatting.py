"""How an answer came and with which settings, in words."""

from __future__ import annotations

from serve.chats.turns import (
    Answer,
    ChatSettings,
    Complete,
    Failed,
    Given,
    Halted,
    Interrupted,
    Waiting,
    Writing,
)


def seconds_text(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 0.9995 else f"{value:.1f} s"


def figures(answer: Answer) -> list[str]:
    """ "TTFT 130 ms", "212 tokens", "94.1 tok/s", "stop": how the answer came, and why it ended."""
    match answer.state:
        case Complete(finished):
            parts = (
                [f"TTFT {seconds_text(finished.time_to_first_token)}"]
                if finished.time_to_first_token is not None
                else []
            )
            tokens = finished.completion_tokens
            parts.append(f"{tokens} token{'' if tokens == 1 else 's'}")
            if speed := finished.tokens_per_second:
                parts.append(f"{speed:.1f} tok/s")
            return [*parts, _reason(answer, finished.reason, tokens)]
        case Halted(time_to_first_token, seconds):
            parts = (
                [f"TTFT {seconds_text(time_to_first_token)}"]
                if time_to_first_token is not None
                else []
            )
            return [*parts, f"stopped by you after {seconds_text(seconds)}"]
        case Interrupted(living):
            return (
                ["another program is writing this"]
                if living
                else ["cut off: the program that received it ended; the text so far is kept"]
            )
        case Given():
            return ["corrected by you" if answer.corrects else "from the data"]
        case Waiting() | Writing() | Failed():
            return []


def _reason(answer: Answer, reason: str, tokens: int) -> str:
    """Why it ended. Servers say "length" for both limits."""
    if reason != "length":
        return {"stop": "stop", "tool_calls": "called a tool", "content_filter": "filtered"}.get(
            reason, reason or "no reason given"
        )
    return (
        "cut at max tokens"
        if tokens >= answer.turn.settings.sampling.max_tokens
        else "cut at the context's end"
    )


def settings_parts(settings: ChatSettings) -> list[str]:
    sampling = settings.sampling
    system = " ".join(settings.system.split())
    return [
        f"temperature {sampling.temperature:g}",
        f"top-p {sampling.top_p:g}",
        f"max {sampling.max_tokens}",
        f"seed {sampling.seed}" if sampling.seed is not None else "random seed",
        f"system: {system}" if system else "no system prompt",
    ]


def ending(answer: Answer) -> str:
    """In one line, also for an answer that failed."""
    if isinstance(answer.state, Failed):
        return f"{answer.state.error.title}: {answer.state.error.message}"
    return " · ".join(figures(answer))
