"""What is asked during a run: the prompts of held-out conversations, or the user's own. Heavy: for
workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from jobs import foreign_json
from jobs.luthier_error import LuthierError
from models.template import Template, TemplateRefusal

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from models.preflight import TemplateReport


Item = TypeVar("Item")


@dataclass(frozen=True)
class Prompt:
    """`text` is the last message that waits for an answer, `reference` the answer that the data has
    ("" for a prompt of the user's own), `input_ids` the tokens of the whole prompt as a server
    would make them."""

    text: str
    reference: str
    input_ids: tuple[int, ...]


class Prompter:
    """Renders prompts as a server would."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, report: TemplateReport) -> None:
        self._backend = tokenizer.backend_tokenizer
        self._template = Template(tokenizer, parts=report.parts)

    def prompt(
        self, messages: Sequence[dict[str, Any]], tools: list[dict[str, Any]] | None, reference: str
    ) -> Prompt:
        """Raises TemplateRefusal."""
        rendered = self._template.text(messages, tools, prompt=True)
        return Prompt(
            str(messages[-1]["content"]),
            reference,
            tuple(self._backend.encode(rendered, add_special_tokens=False).ids),
        )

    def of_user(self, texts: Sequence[str]) -> list[Prompt]:
        """Each text as the first message of a chat."""
        try:
            return [self.prompt([{"role": "user", "content": text}], None, "") for text in texts]
        except TemplateRefusal as error:
            raise LuthierError(
                "The chat template refuses a prompt",
                str(error),
                "Change evaluation.prompts in the recipe.",
            ) from None

    def of_heldout(self, path: Path, count: int) -> list[Prompt]:
        """At most `count` of the held-out conversations, evenly spread over the file, each with its
        last trained turn as the reference. Turns without text (calls of tools) are left out."""
        starts = spread(_last_samples(path), count)
        prompts = []
        with path.open("rb") as file:
            for start in starts:
                file.seek(start)
                sample = foreign_json.decode_object(file.readline(), path)
                turn = sample["turns"][-1]
                prompts.append(
                    self.prompt(
                        sample["messages"][:turn],
                        sample.get("tools"),
                        answer_text(sample["messages"][turn]["content"]),
                    )
                )
        return prompts


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """`count` of the items, evenly spread; all, if there are no more."""
    return (
        list(items)
        if len(items) <= count
        else [items[number * len(items) // count] for number in range(count)]
    )


def answer_text(content: str) -> str:
    """An answer without the reasoning in front of it."""
    return content.rpartition("</think>")[2].strip()


def _last_samples(path: Path) -> list[int]:
    """Where the line of each conversation's last trained turn begins; of those only whose turn has
    text."""
    last: dict[tuple[str, int], tuple[tuple[int, int], int, bool]] = {}
    start = 0
    with path.open("rb") as file:
        for line in file:
            sample = foreign_json.decode_object(line, path)
            if sample["turns"]:
                source, turn = sample["source"], sample["turns"][-1]
                order = (int(source.get("part", 0)), turn)
                key = (source["file"], source["row"])
                if key not in last or order >= last[key][0]:
                    last[key] = (
                        order,
                        start,
                        bool(answer_text(sample["messages"][turn]["content"])),
                    )
            start += len(line)
    return sorted(begin for _, begin, has_text in last.values() if has_text)
