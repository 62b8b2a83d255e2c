"""Which of vLLM's parsers fits a model: those that take tool calls and reasoning out of what it
writes.

Told by the chat template: a model writes its calls the way its template shows them earlier ones.
Names are those of vLLM 0.32.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models.folder import ModelFolder
from models.model_directory import has_config

NONE = "none"
"""What a user says to have no parser."""


@dataclass(frozen=True)
class Parser:
    """`name` is empty where no parser is known to fit; `why` says what told."""

    name: str
    why: str


# (parser, model types (none named: any), what the template must have). The first that fits is
# taken.
_TOOLS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("openai", ("gpt_oss",), ()),
    ("deepseek_v31", ("deepseek_v3",), ("<｜tool▁calls▁begin｜>", "<｜tool▁sep｜>", "thinking")),
    ("deepseek_v3", ("deepseek_v3",), ("<｜tool▁calls▁begin｜>",)),
    ("glm45", ("glm4_moe",), ("<tool_call>", "<arg_key>")),
    ("qwen3_coder", (), ("<tool_call>", "<function=", "<parameter=")),
    ("minimax_m2", ("minimax_m2",), ("<minimax:tool_call>",)),
    ("kimi_k2", (), ("<|tool_calls_section_begin|>",)),
    (
        "hermes",
        ("qwen2", "qwen3", "qwen3_moe", "llama", "mistral", "smollm3", "olmo2"),
        ("<tool_call>", "</tool_call>"),
    ),
    ("mistral", ("mistral", "mixtral", "mistral3"), ("[TOOL_CALLS]",)),
    ("llama4_pythonic", ("llama4", "llama4_text"), ("tools",)),
    ("llama3_json", ("llama",), ("<|start_header_id|>", "ipython", "parameters")),
    ("granite4", ("granitemoehybrid",), ("<tool_call>",)),
    ("granite", ("granite", "granitemoe"), ("<|tool_call|>",)),
    ("phi4_mini_json", ("phi3",), ("<|tool_call|>",)),
    ("lfm2", ("lfm2", "lfm2_moe"), ("<|tool_list_start|>",)),
)
_REASONING: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("openai_gptoss", ("gpt_oss",), ()),
    ("glm45", ("glm4_moe",), ("<think>",)),
    ("minimax_m2", ("minimax_m2",), ("<think>",)),
    ("deepseek_v3", ("deepseek_v3",), ("<think>", "thinking")),
    ("deepseek_r1", ("deepseek_v3",), ("</think>",)),
    ("deepseek_r1", ("qwen2", "llama"), ("<｜Assistant｜>", "</think>")),
    ("qwen3", ("qwen3", "qwen3_moe"), ("<think>", "enable_thinking")),
    ("granite", ("granite",), ("Here is my thought process",)),
)


def parsers(base: Path) -> tuple[Parser, Parser]:
    """For tool calls and for reasoning, as far as the model's family is known."""
    model = ModelFolder(base)
    if not has_config(base):  # the built-in model, which a run prepares first
        unknown = Parser("", "the model is not prepared yet")
        return unknown, unknown
    kind = str(model.config.get("model_type") or model.text_config.get("model_type") or "")
    return (
        _first(_TOOLS, kind, model.tool_template or "", "tool calls"),
        _first(_REASONING, kind, model.chat_template or "", "reasoning"),
    )


def _first(
    table: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...],
    kind: str,
    template: str,
    task: str,
) -> Parser:
    for name, kinds, marks in table:
        if (not kinds or kind in kinds) and all(mark in template for mark in marks):
            evidence = (
                f"its template contains {marks[0]}" if marks else "vLLM has one for this family"
            )
            return Parser(name, f"model type {kind or 'unknown'}, {evidence}")
    return Parser(
        "",
        (
            f"there is no known parser of {task} for model type {kind or 'unknown'} with this"
            " template"
        ),
    )
