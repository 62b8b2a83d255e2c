"""From a conversation to the tensors of training: render, tokenise, mask, verify.

What is trained: for each assistant turn exactly the tokens that a server would have to generate after its own generation prompt to say
that turn, up to and including the first stop token. Nothing else. A turn for which that cannot be shown is an error with a name.
Templates that rewrite earlier turns when the conversation goes on are refused here.
"""

from __future__ import annotations

import bisect
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.errors import LuthierError
from models.conversations import Conversation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

UNTRAINED = -100


class MaskError(LuthierError):
    """A turn whose trained tokens cannot be told apart from the rest."""

    def __init__(self, conversation: Conversation, turn: int, reason: str, rendered: str) -> None:
        message = f"{conversation.file}, row {conversation.row}, message {turn}: {reason}"
        super().__init__("The loss mask cannot be proved", message, f"The text as rendered: {rendered!r}")


@dataclass(frozen=True)
class Sample:
    """One conversation as token ids. `labels` equals `input_ids` where trained and is -100 elsewhere; `turns` are message indices."""

    conversation: Conversation
    turns: list[int]
    input_ids: list[int]
    labels: list[int]

    def to_json(self) -> dict[str, Any]:
        return {"source": self.conversation.source, "turns": self.turns, "input_ids": self.input_ids, "labels": self.labels}


def load_tokenizer(model_directory: Path) -> PreTrainedTokenizerBase:
    """The model's tokenizer. LuthierError if it has no chat template or is a slow one (its tokens carry no offsets)."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(model_directory), local_files_only=True)
    if not tokenizer.chat_template:
        raise LuthierError("No chat template", f"The tokenizer in {model_directory} has none.", "Choose an instruct model.")
    if not tokenizer.is_fast:
        raise LuthierError("Slow tokenizer", f"The tokenizer in {model_directory} gives no offsets.", "Add its tokenizer.json.")
    return tokenizer


def stop_token_ids(tokenizer: PreTrainedTokenizerBase, model_directory: Path) -> set[int]:
    """The tokens that end an answer on a server: the tokenizer's eos and those of generation_config.json."""
    stops: set[int] = set() if tokenizer.eos_token_id is None else {int(tokenizer.eos_token_id)}
    path = model_directory / "generation_config.json"
    if path.is_file():
        listed = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id")
        stops.update(listed if isinstance(listed, list) else [] if listed is None else [listed])
    if not stops:
        raise LuthierError("No stop token", f"{model_directory} names no eos token.", "Set eos_token in its tokenizer_config.json.")
    return stops


class Renderer:
    """A model's chat template and tokenizer, as the server applies them."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop_ids: set[int]) -> None:
        self.tokenizer = tokenizer
        self.stop_ids = stop_ids
        self._stop_texts = tuple(str(tokenizer.convert_ids_to_tokens(token)) for token in sorted(stop_ids))
        self._special_texts = tuple(str(token) for token in tokenizer.all_special_tokens)

    def text(self, messages: Sequence[dict[str, Any]], tools: list[dict[str, Any]] | None, *, prompt: bool) -> str:
        """The rendered text; with `prompt`, up to and including the header of the next assistant turn."""
        plain = [{key: value for key, value in message.items() if key != "weight"} for message in messages]
        rendered = self.tokenizer.apply_chat_template(plain, tools=tools, tokenize=False, add_generation_prompt=prompt)
        return str(rendered)

    def sample(self, conversation: Conversation) -> Sample:
        """Render, tokenise, mask and verify. MaskError if a turn's mask cannot be proved."""
        self._refuse_special_text(conversation)
        full = self.text(conversation.messages, conversation.tools, prompt=False)
        encoded = self.tokenizer(full, add_special_tokens=False, return_offsets_mapping=True)
        input_ids: list[int] = encoded["input_ids"]
        starts = [start for start, _ in encoded["offset_mapping"]]
        labels = [UNTRAINED] * len(input_ids)
        turns = conversation.trained_turns()
        for turn in turns:
            first, last = self._span(conversation, turn, full, input_ids, starts)
            labels[first:last] = input_ids[first:last]
        return Sample(conversation, turns, input_ids, labels)

    def _span(self, conversation: Conversation, turn: int, full: str, input_ids: list[int], starts: list[int]) -> tuple[int, int]:
        """The token range of one assistant turn, its stop token included."""
        messages, tools = conversation.messages, conversation.tools
        if turn == 0:
            raise MaskError(conversation, turn, "the first message is the assistant's: there is no prompt that it answers.", full)
        prompt = self.text(messages[:turn], tools, prompt=True)
        up_to_turn = self.text(messages[: turn + 1], tools, prompt=False)
        if not full.startswith(up_to_turn.rstrip()):
            raise MaskError(conversation, turn, "the template rewrites this turn when the conversation goes on.", full)
        if not up_to_turn.startswith(prompt):
            raise MaskError(conversation, turn, "what the server renders as its prompt is not how training begins this turn.", full)
        end = self._end_of_turn(up_to_turn, len(prompt))
        if end is None:
            raise MaskError(conversation, turn, f"no stop token ({', '.join(self._stop_texts)}) closes this turn.", full)
        first, last = bisect.bisect_left(starts, len(prompt)), bisect.bisect_left(starts, end)
        prompt_ids = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        if input_ids[:first] != prompt_ids:
            raise MaskError(conversation, turn, "the prompt's tokens run into the answer's.", full)
        trained = input_ids[first:last]
        if not trained or trained[-1] not in self.stop_ids or self.stop_ids.intersection(trained[:-1]):
            raise MaskError(conversation, turn, "its trained tokens do not end with its only stop token.", full)
        decoded = self.tokenizer.decode(trained, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        if decoded != full[len(prompt) : end] or str(messages[turn]["content"]).strip() not in decoded:
            raise MaskError(conversation, turn, f"its trained tokens say {decoded!r}.", full)
        return first, last

    def _end_of_turn(self, text: str, start: int) -> int | None:
        """Where the first of the stop tokens that close `text` ends; None if none does."""
        end = None
        rest = text.rstrip()
        while True:
            stop = next((stop for stop in self._stop_texts if rest.endswith(stop) and len(rest) - len(stop) >= start), None)
            if stop is None:
                return end
            end = len(rest)
            rest = rest[: -len(stop)].rstrip()

    def _refuse_special_text(self, conversation: Conversation) -> None:
        """A control token typed as text would become one: the model would see a turn that nobody wrote."""
        for turn, message in enumerate(conversation.messages):
            found = next((text for text in self._special_texts if text in str(message["content"])), None)
            if found is not None:
                raise MaskError(conversation, turn, f"its content holds the control token {found} as text.", str(message["content"]))
