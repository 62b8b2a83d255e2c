"""What the corpus' templates cannot express, by name, and the scaffolds that they lose. Everything
else is masked without a wrong token."""

from __future__ import annotations

_TOOLS = ("tools", "tools and reasoning")
_ROLES = ("consecutive users", "consecutive assistants", "assistant first, untrained")


def _table(code: str, *shapes: str, **more: str) -> dict[str, str]:
    return {
        **dict.fromkeys(shapes, code),
        **{name.replace("_", " "): other for name, other in more.items()},
    }


# raises an exception at the role tool, or (DeepSeek's) at arguments that are an object
_NO_TOOL_ROLE = _table("template_refuses", *_TOOLS)
_CALLS_IGNORED = _table("text_dropped", *_TOOLS)  # renders the conversation without the tool calls
_ALTERNATING = _table("template_refuses", *_TOOLS, *_ROLES)  # "Conversation roles must alternate"
_NO_SYSTEM = _table("template_refuses", *_TOOLS, *_ROLES, system="no_system_role")
# An assistant's turn is shown otherwise once the same side goes on, so that what the server would
# have rendered for the second is lost.
_REOPENED = _table("prompt_not_kept", "consecutive assistants")
REFUSED: dict[str, dict[str, str]] = {
    **dict.fromkeys(("alpaca", "deepseekv3", "llava_next", "mistral_v7", "vicuna"), _NO_TOOL_ROLE),
    **dict.fromkeys(
        (
            "chatml",
            "deepseek_r1_distill",
            "exaone",
            "idefics3",
            "lfm2",
            "llama3",
            "openchat",
            "phi3",
        ),
        _CALLS_IGNORED,
    ),
    **dict.fromkeys(("phi3_5", "phi4", "qwen2_5_vl", "smollm2", "zephyr"), _CALLS_IGNORED),
    **dict.fromkeys(("cohere", "cohere2", "gemma3", "llama2"), _ALTERNATING),
    **dict.fromkeys(("gemma", "mistral_v1"), _NO_SYSTEM),
    **dict.fromkeys(("diffusion_gemma", "gemma4", "minicpmv45", "qwen3"), _REOPENED),
    # only the header of a user's or a tool's message is a stop token
    "glm4moe": _table("unclosed", "consecutive assistants"),
    # it stands before the last user message only
    "mistral_system_last": _table("template_refuses", *_TOOLS, system="no_system_role"),
    "tulu": _table("text_dropped", *_TOOLS, consecutive_assistants="prompt_not_kept"),
}
_OPEN, _EMPTY = ("<think>\n",), ("<think>\n\n</think>\n\n",)
SCAFFOLDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("deepseek_r1_distill", "deepseekv3"), _OPEN),
    **dict.fromkeys(
        ("nemotron_3_5_lightning", "nemotron_3_nano", "nemotron_3_super", "nemotron_3_ultra"), _OPEN
    ),
    **dict.fromkeys(("minicpmv45", "qwen3_5_nothink"), _EMPTY),
}
