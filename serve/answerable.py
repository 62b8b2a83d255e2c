"""What of a request this server cannot do as it was asked: changed to what it can, or refused in
words that its reader can act on.

Runs inside vLLM's process, behind the guard: standard library only. vLLM's own words name flags
that Luthier's user has never seen, or leave out the adapters. `state` is the application's, as vLLM
sets it.
"""

from __future__ import annotations

from typing import Any

_CHAT = "/v1/chat/completions"
_LENGTHS = {
    _CHAT: ("max_tokens", "max_completion_tokens"),
    "/v1/completions": ("max_tokens",),
    "/v1/responses": ("max_output_tokens",),
    "/v1/messages": ("max_tokens",),
}
_NO_PARSER = (
    "This server has no parser for tool calls, so a request cannot require one: tool calls"
    " arrive as text. Start the server with a parser (`luthier serve --tool-parser NAME`), or"
    " leave out tool_choice."
)


def refusal(state: Any, route: str, request: dict[str, Any]) -> tuple[int, str] | None:
    """The status and the words for what cannot be answered at all."""
    model, names = request.get("model"), model_names(state)
    if isinstance(model, str) and model and names and model not in names:
        return 404, f"This server has no model {model[:100]!r}. It has: {', '.join(names)}."
    if route == _CHAT and _calls_are_text(state) and request.get("tools"):
        choice = request.get("tool_choice")
        if choice == "required" or isinstance(choice, dict):
            return 400, _NO_PARSER
    return None


def changes(state: Any, route: str, request: dict[str, Any]) -> dict[str, Any]:
    """What vLLM is asked instead, by name: an answer no longer than the context, and tools that a
    model without a parser sees in its prompt and calls in its text. With the choice left open vLLM
    takes both; "auto", which it fills in, it refuses."""
    changed: dict[str, Any] = {}
    longest = _context_length(state)
    for name in _LENGTHS[route]:
        length = request.get(name)
        if longest is not None and isinstance(length, int) and length > longest:
            changed[name] = longest  # vLLM itself takes the prompt's tokens off
    if (
        route == _CHAT
        and _calls_are_text(state)
        and request.get("tools")
        and request.get("tool_choice", "auto") == "auto"
    ):
        changed["tool_choice"] = None
    return changed


def model_names(state: Any) -> list[str]:
    """The base model's names, then the adapters'."""
    models = state.openai_serving_models
    return [*(model.name for model in models.base_model_paths), *models.lora_requests]


def _context_length(state: Any) -> int | None:
    length = getattr(
        getattr(getattr(state, "vllm_config", None), "model_config", None), "max_model_len", None
    )
    return length if isinstance(length, int) else None


def _calls_are_text(state: Any) -> bool:
    """Whether vLLM was started without a parser of tool calls. Harmony's models (gpt-oss) need
    none."""
    enabled = getattr(getattr(state, "args", None), "enable_auto_tool_choice", True)
    return not enabled and not getattr(
        getattr(state, "online_renderer", None), "use_harmony", False
    )
