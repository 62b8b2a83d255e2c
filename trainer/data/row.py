"""One row of data, read through a mapping: which column holds a part of a conversation, and what it
says. Light."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from trainer.data.answers import one_answer, ranking_of
from trainer.data.columns import at, context_text
from trainer.data.formats_turns import TURN_COLUMNS, Message, RowProblem, decoded

if TYPE_CHECKING:
    from trainer.data.formats import Mapping

# The usual names of parts.
_SEVERAL = ("outputs", "responses", "answers", "completions", "generations", "candidates")
_COMPLETION = (
    "completion",
    "response",
    "output",
    "answer",
    "assistant",
    "reply",
    "target",
    *_SEVERAL,
)
_CHOSEN = (
    *(
        "chosen",
        "chosen_response",
        "chosen_answer",
        "chosen_text",
        "chosen_messages",
        "preferred",
        "preferred_output",
    ),
    *(
        "preferred_response",
        "preferred_answer",
        "accepted",
        "accept",
        "better",
        "winning_response",
        "positive",
        "good_answer",
        "best_answer",
    ),
)
_REJECTED = (
    *(
        "rejected",
        "rejected_response",
        "rejected_answer",
        "rejected_text",
        "rejected_messages",
        "reject",
        "non_preferred_output",
    ),
    *(
        "non_preferred",
        "dispreferred",
        "dispreferred_output",
        "dispreferred_response",
        "worse",
        "losing_response",
        "negative",
    ),
    *("bad_answer", "wrong_answer", "wrong_answers", "incorrect_answer", "incorrect_answers"),
)
_NAMES = {
    "system": ("system", "system_prompt", "system_message"),
    "tools": ("tools", "functions"),
    "output": ("output", "response", "answer", *_SEVERAL),
    "answer": ("answer", "response", "output", "reply", *_SEVERAL),
    "question": ("question", "query"),
    "prompt": ("prompt", "query", "input", "user", "human", "source"),
    "completion": _COMPLETION,
    "chosen": (*_CHOSEN, *_COMPLETION),
    "rejected": _REJECTED,
}
# What a pair of answers may follow: a question, or the conversation so far.
_PAIR_PROMPTS = (
    "prompt",
    "input.messages",
    *TURN_COLUMNS,
    "question",
    "instruction",
    "query",
    "input",
    "user",
    "human",
    "source",
)
_PAIR_NAMES = {"prompt": _PAIR_PROMPTS, "tools": ("tools", "functions", "input.tools")}


class Row:
    """A row, read through a mapping; columns are found whatever their capitals. `unknown` gathers
    what is odd in its messages' keys, `met` and `repairs` what its columns meet; `is_asked`: its
    context stands in the prompt."""

    def __init__(self, value: dict[str, Any], mapping: Mapping) -> None:
        self.value, self.mapping = value, mapping
        self.unknown: list[str] = []
        self.met: list[tuple[str, str]] = []
        self.repairs: list[str] = []
        self.is_asked = False

    @cached_property
    def columns(self) -> dict[str, str]:
        return {folded(name): name for name in reversed(self.value)}

    def find(self, part: str) -> str | None:
        """The column that holds a part: as the mapping says, else by its usual names."""
        mapped = self.mapping.columns.get(part)
        if mapped in self.value:
            return mapped
        names = _NAMES.get(part, (part,)) if mapped is None else (mapped,)
        return next((column for name in names if (column := self._column(name)) is not None), None)

    def of_pair(self, part: str) -> str | None:
        """The column of a part where chosen and rejected are told apart; a verdict is none of
        them."""
        names = (
            (self.mapping.columns[part],)
            if part in self.mapping.columns
            else _PAIR_NAMES.get(part, _NAMES.get(part, (part,)))
        )
        columns = (column for name in names if (column := self._column(name)) is not None)
        return next(
            (column for column in columns if isinstance(at(self.value, column), str | list | dict)),
            None,
        )

    def _column(self, name: str) -> str | None:
        if name in self.value:
            return name
        if name in self.mapping.ignore:
            return None
        if "." in name and at(self.value, name) is not None:
            return name
        return self.columns.get(folded(name))

    def get(self, part: str) -> Any:
        """A part's value; None if the row has not the column that the mapping names."""
        column = self.mapping.columns.get(part)
        if column is None:
            return None
        if column in self.value:
            return self.value[column]
        column = self.find(part)
        return None if column is None else at(self.value, column)

    def need(self, part: str) -> Any:
        value = self.get(part)
        if value is None:
            column = self.mapping.columns.get(part, part)
            raise RowProblem(
                "other_format", f"`{column}` is {'null' if column in self.value else 'missing'}"
            )
        return value

    def answer(self, part: str) -> Any:
        """A part's one answer, of however many there are."""
        value = self.need(part)
        if isinstance(value, str):
            return value
        column = self.find(part) or part
        chosen_answer = one_answer(self.value, column, value, ranking_of(self.value, column))
        self.met += [chosen_answer.met] if chosen_answer.met else []
        self.repairs += ["chosen_answer"] * chosen_answer.is_chosen
        return chosen_answer.value

    def system(self) -> list[Message]:
        value = self.get("system")
        return [] if value is None or value == "" else [{"role": "system", "content": value}]

    def context(self) -> dict[str, str]:
        """The texts that belong to the prompt, by column."""
        texts: dict[str, str] = {}
        for column in self.mapping.context:
            value = at(self.value, column)
            text = context_text(value)
            if text is None and value is not None:
                self.met.append(
                    ("unread", f"`{column}` contains no text that could join the prompt")
                )
            if text:
                texts[column] = text
        return texts

    def asked(self, part: str) -> Any:
        """What is asked, in a column; context joins a text in the order of the columns."""
        value = self.need(part)
        if not self.mapping.context or not isinstance(value, str) or value.lstrip().startswith("["):
            return value
        self.is_asked = True
        pieces = {**self.context(), str(self.find(part)): value}
        order = {str(column): index for index, column in enumerate(self.value)}
        ordered = sorted(pieces, key=lambda column: order.get(column.partition(".")[0], 0))
        return "\n\n".join(pieces[column] for column in ordered)

    def history(self) -> list[Message]:
        """Earlier turns, as pairs of question and answer."""
        if "history" not in self.mapping.columns:
            return []
        history = decoded(self.get("history")) or []
        column = self.mapping.columns.get("history")
        if not isinstance(history, list):
            raise RowProblem("history", f"`{column}` is not a list of question and answer pairs")
        messages: list[Message] = []
        for pair in history:
            if not isinstance(pair, list) or len(pair) != 2:
                raise RowProblem(
                    "history", f"`{column}` has an item that is not a question and answer pair"
                )
            messages += [
                {"role": "user", "content": pair[0]},
                {"role": "assistant", "content": pair[1]},
            ]
        return messages


def folded(name: str) -> str:
    return str(name).strip().lower().replace(" ", "_").replace("-", "_")
