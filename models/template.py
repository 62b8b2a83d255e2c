"""A model's chat template and tokenizer, applied as vLLM's server applies them.

vLLM parses the arguments of tool calls into objects, gives reasoning under both of its names, wraps
content into parts for templates that loop over parts, and declares of a tool what OpenAI's API
knows. What is rendered here is rendered the same way, so that training sees what serving will show.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs import foreign_json
from jobs.foreign_json import Damaged
from jobs.luthier_error import LuthierError
from models.bounds import bounded, check_length
from models.folder import ModelFolder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = Mapping[str, Any]
_PLAIN_KEYS = {"role", "content"}
REASONING_KEYS = ("reasoning_content", "reasoning")
# What vLLM declares of a tool, in its order, and what only where it is set.
_DECLARED_KEYS = ("name", "description", "parameters")
_OPTIONAL_KEYS = ("strict", "defer_loading")
_ANY_TOOLS: list[dict[str, Any]] = [{"type": "function", "function": {"name": "tool"}}]


class TemplateRefusal(Exception):
    """The chat template cannot render these messages; the server would answer with the same
    error."""


def load_tokenizer(model_directory: Path) -> PreTrainedTokenizerBase:
    """The model's tokenizer. LuthierError if it cannot be read, has no chat template or is a slow
    one (its tokens carry no offsets)."""
    tokenizer = read_tokenizer(model_directory)
    if not tokenizer.chat_template:
        hint = (
            "Choose an instruct model, or train with a template of your own: [tokens] template ="
            ' "chatml" in the recipe.'
        )
        raise LuthierError(
            "No chat template", f"The tokenizer in {model_directory} has none.", hint
        )
    return tokenizer


def read_tokenizer(model_directory: Path) -> PreTrainedTokenizerBase:
    """The same, also without a chat template."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(model_directory), local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise LuthierError(
            "Tokenizer not readable",
            f"{model_directory}: {reason}",
            "Download its tokenizer.json again.",
        ) from None
    if not tokenizer.is_fast:
        raise LuthierError(
            "Slow tokenizer",
            f"The tokenizer in {model_directory} reports no offsets.",
            "Add its tokenizer.json.",
        )
    return tokenizer


def served_stop_ids(tokenizer: PreTrainedTokenizerBase, model_directory: Path) -> frozenset[int]:
    """The tokens at which a server of this folder ends an answer. LuthierError if there are
    none."""
    stop_ids = ModelFolder(model_directory).stop_ids_with(tokenizer.eos_token_id)
    if not stop_ids:
        raise LuthierError(
            "No stop token",
            f"{model_directory} lists no eos token.",
            "Set eos_token in its tokenizer_config.json.",
        )
    return stop_ids


class Template:
    """Renders messages. `parts`: content goes in as a list of text parts, for templates that read
    nothing else."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, parts: bool) -> None:
        from jinja2 import TemplateError
        from transformers.utils.chat_template_utils import render_jinja_template

        self._tokenizer = tokenizer
        self._parts = parts
        self._render = render_jinja_template
        self._variables = dict(tokenizer.special_tokens_map)
        self._without_tools = tokenizer.get_chat_template(None, None)
        for source in {self._without_tools, tokenizer.get_chat_template(None, _ANY_TOOLS)}:
            _check_syntax(source)
        # What a template does with a conversation that its author did not think of: its own words,
        # or whatever Python says.
        self._refusals = (
            TemplateError,
            TypeError,
            ValueError,
            KeyError,
            AttributeError,
            IndexError,
        )
        normal_form = str(tokenizer.backend_tokenizer.normalizer).removesuffix("()")
        self._normal_form = normal_form if normal_form in ("NFC", "NFKC", "NFD", "NFKD") else None

    def text(
        self,
        messages: Sequence[Message],
        tools: list[dict[str, Any]] | None = None,
        *,
        prompt: bool = False,
    ) -> str:
        """The rendered text; with `prompt`, up to and including the header of the next assistant
        turn. Raises TemplateRefusal."""
        source = (
            self._without_tools if not tools else self._tokenizer.get_chat_template(None, tools)
        )
        served = [self._served(message) for message in messages]
        try:
            with bounded():
                rendered, _ = self._render(
                    conversations=[served],
                    tools=[_served_tool(tool) for tool in tools or []] or None,
                    chat_template=source,
                    add_generation_prompt=prompt,
                    **self._variables,
                )
        except self._refusals as error:
            raise TemplateRefusal(str(error) or type(error).__name__) from None
        text = str(rendered[0])
        check_length(text)
        return text

    @property
    def normalises(self) -> bool:
        return self._normal_form is not None

    def normalised(self, text: str) -> str:
        """`text` as the tokenizer will see it: some (Qwen's) compose accents first, and a mask must
        be of the text that is trained."""
        if self._normal_form is None or text.isascii():
            return text
        return unicodedata.normalize(self._normal_form, text)  # type: ignore[arg-type]

    def _served(self, message: Message) -> Message:
        plain = message.keys() == _PLAIN_KEYS
        if plain and not self._parts:
            return message
        served = {key: value for key, value in message.items() if key != "weight"}
        if not plain:
            reasoning = next((served[key] for key in REASONING_KEYS if served.get(key)), None)
            if reasoning is not None:
                served.update(dict.fromkeys(REASONING_KEYS, reasoning))
            if "tool_calls" in served:
                served["tool_calls"] = [_served_call(call) for call in served["tool_calls"] or []]
                if not served["tool_calls"]:
                    del served["tool_calls"]
        if self._parts and isinstance(served["content"], str):
            served["content"] = [{"type": "text", "text": served["content"]}]
        return served


def _check_syntax(source: str) -> None:
    """LuthierError for what is no template at all."""
    from jinja2 import TemplateSyntaxError
    from transformers.utils.chat_template_utils import _compile_jinja_template

    try:
        with bounded():
            _compile_jinja_template(source)
    except TemplateSyntaxError as error:
        message = f"Line {error.lineno}: {error.message}."
        hint = (
            "Correct the model's chat template, or train with another template: [tokens]"
            ' template = "chatml" in the recipe.'
        )
        raise LuthierError("The chat template has a syntax error", message, hint) from None


def _served_call(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            arguments = foreign_json.decode(
                arguments, f"the arguments of the call to {function.get('name')}", lenient=True
            )
        except Damaged as error:
            raise TemplateRefusal(f"{error.where} are not JSON: {error.reason}") from None
    return {**call, "function": {**function, "arguments": arguments}}


def _served_tool(tool: dict[str, Any]) -> dict[str, Any]:
    """A template may write a tool as JSON: what it lacks is null then, and what OpenAI's API does
    not know is left out."""
    declared = tool["function"]
    function = {key: declared.get(key) for key in _DECLARED_KEYS}
    for key in _OPTIONAL_KEYS:
        if declared.get(key) is not None:
            function[key] = declared[key]
    return {"type": "function", "function": function}
