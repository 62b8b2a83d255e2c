"""What becomes of odd conversations: a policy for each kind of oddity, and the repairs. Light."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import groupby
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_type_hints

import msgspec

from models.conversations import ROLES
from trainer.data.formats_turns import Converted, Message
from trainer.data.media import media_in

Choice = Literal["repair", "drop", "stop"]
DropOrStop = Literal["drop", "stop"]
SplitDropOrStop = Literal["split", "drop", "stop"]
KeepDropOrStop = Literal["keep", "drop", "stop"]
MergeOrLeaveOut = Literal["merge", "leave_out", "drop", "stop"]


class Policies(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The recipe's section [policy]. POLICIES says what each is about."""

    damage: DropOrStop = "stop"
    unreadable: DropOrStop = "drop"
    unknown_key: Choice = "drop"
    rejected: DropOrStop = "drop"
    unread: DropOrStop = "stop"
    alternatives: Choice = "stop"
    media: KeepDropOrStop = "drop"
    reasoning: Choice = "repair"
    content: Choice = "repair"
    unknown_role: Choice = "drop"
    late_system: Choice = "repair"
    empty_turn: Choice = "repair"
    assistant_first: Choice = "repair"
    consecutive: Choice = "repair"
    user_last: Choice = "repair"
    system_prompt: MergeOrLeaveOut = "stop"
    special_text: Choice = "drop"
    untrained: DropOrStop = "drop"
    many_turns: SplitDropOrStop = "split"
    too_long: SplitDropOrStop = "split"
    duplicates: KeepDropOrStop = "drop"
    near_duplicates: KeepDropOrStop = "keep"
    mask: DropOrStop = "stop"
    max_messages: Annotated[int, msgspec.Meta(ge=4)] = 512
    near_similarity: Annotated[float, msgspec.Meta(ge=0.5, le=1.0)] = 0.8


class Policy(NamedTuple):
    """`meets` is the oddity, `repair` what any choice but to keep, drop or stop does to it, empty
    where there is none. `hint` is what else can be done than choose otherwise."""

    meets: str
    repair: str = ""
    hint: str = ""


# The one table of policies: the plan shows it, with the recipe's choices; their names are the
# reason codes of the ledger.
POLICIES: dict[str, Policy] = {
    "damage": Policy("a row that is broken, or a file that is cut off"),
    "unreadable": Policy("a row that is not a conversation in the file's format"),
    "unknown_key": Policy(
        "a message key that was probably meant to have an effect but has none (for example,"
        " misspelt)",
        "the key is left out",
    ),
    "rejected": Policy("an answer that the data marks as bad"),
    "unread": Policy(
        "a column that seems to be a verdict on the answer, or its source, and that Luthier does"
        " not read",
        hint=(
            "Say what the column means with [format] judgement, context or ignore (docs/data.md,"
            " Columns beside a conversation)."
        ),
    ),
    "alternatives": Policy(
        "several answers to one question, none of them marked as best", "the first answer is used"
    ),
    "media": Policy("a picture, a sound or a video, which text cannot replace"),
    "reasoning": Policy(
        "reasoning that the chat template leaves out",
        "the answer is trained without it, and the reasoning counts as lost",
    ),
    "content": Policy(
        "content that is not text",
        "text parts are joined and numbers written out; other parts cannot be converted",
    ),
    "unknown_role": Policy(
        "a role other than system, user, assistant and tool", "the message is left out"
    ),
    "late_system": Policy("a system message after the beginning", "it joins the system prompt"),
    "empty_turn": Policy(
        "a turn without text", "it is left out, together with its question or answer"
    ),
    "assistant_first": Policy(
        "the assistant speaks before the user",
        "everything before the user's first turn is left out",
    ),
    "consecutive": Policy(
        "consecutive messages of one role", "they are joined, with an empty line between them"
    ),
    "user_last": Policy(
        "the last turn waits for an answer", "everything after the last answer is left out"
    ),
    "system_prompt": Policy(
        "a system prompt for which the chat template has no place",
        "it joins the user's first question, or is left out",
    ),
    "special_text": Policy(
        "text that contains one of the model's control tokens",
        "a space after its first character turns it into text",
    ),
    "untrained": Policy("no answer that can be trained"),
    "many_turns": Policy("more than policy.max_messages messages", "split at turn boundaries"),
    "too_long": Policy(
        "longer than train.max_length tokens",
        "split at turn boundaries, each part with the system prompt and the tools",
    ),
    "duplicates": Policy("equal to an earlier conversation"),
    "near_duplicates": Policy(
        "nearly equal to an earlier conversation (policy.near_similarity of its text)"
    ),
    "mask": Policy("the loss mask cannot be proved"),
}


def choices(name: str) -> tuple[str, ...]:
    return get_args(get_type_hints(Policies)[name])


def table(policies: Policies) -> list[dict[str, Any]]:
    """The table as the plan shows it: each policy, what is chosen, whether the recipe changed it,
    and what it is about."""
    default = Policies()
    return [
        {
            "name": name,
            "choice": getattr(policies, name),
            "changed": getattr(policies, name) != getattr(default, name),
            "choices": list(choices(name)),
            "meets": policy.meets,
            "repair": policy.repair,
        }
        for name, policy in POLICIES.items()
    ]


class Rejected(Exception):
    """A row that a policy leaves out. `code` is the policy's name."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code, self.detail = code, detail


class Settled(NamedTuple):
    """A conversation as it is trained on. `repairs` says by policy what was repaired, where it was
    met first; `places` are the messages' numbers in the row, -1 for one that a column made; none
    where they are as here."""

    messages: list[Message]
    repairs: dict[str, str]
    places: list[int]


class SpecialTexts:
    """The model's control tokens, as texts that no message may hold. `sign` is a character that
    each of them has, by which most texts are told quickly to hold none; "" where there is none."""

    def __init__(self, texts: Sequence[str] = ()) -> None:
        longest_first = sorted(filter(None, texts), key=len, reverse=True)
        self.pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self.sign = (
            min(set.intersection(*map(set, longest_first)), default="") if longest_first else ""
        )

    def token_in(self, message: Message) -> str | None:
        allowed = THINKING if message.get("role") == "assistant" else ()
        if type(content := message["content"]) is str and len(message) == 2:
            return self._in(content, allowed)
        texts = _strings({key: value for key, value in message.items() if key != "role"})
        return next((token for text in texts if (token := self._in(text, allowed))), None)

    def _in(self, text: str, allowed: Sequence[str]) -> str | None:
        if self.sign not in text:
            return None
        return next(
            (match[0] for match in self.pattern.finditer(text) if match[0] not in allowed), None
        )

    def broken_up(self, message: Message) -> Message:
        allowed = THINKING if message.get("role") == "assistant" else ()

        def apart(match: re.Match[str]) -> str:
            return match[0] if match[0] in allowed else f"{match[0][0]} {match[0][1:]}"

        return {
            key: (
                value
                if key == "role"
                else _mapped(value, lambda text: self.pattern.sub(apart, text))
            )
            for key, value in message.items()
        }


THINKING = ("<think>", "</think>")


def settle(
    converted: Converted, policies: Policies, special: SpecialTexts, no_system: str = ""
) -> Settled:
    """A row's conversation by the policies. `no_system`: what the chat template does to a system
    prompt that it has no place for. Raises Rejected."""
    if _is_settled(converted, special, no_system):
        return Settled(converted.messages, {}, list(converted.places))
    settling = _Settling(converted, policies)
    for code, detail in converted.met:
        settling.meet(code, detail)
    if converted.unknown:
        settling.meet("unknown_key", "; ".join(converted.unknown))
    settling.media()
    if not _is_plain(converted.messages):
        for step in (
            settling.content,
            settling.unknown_role,
            settling.late_system,
            settling.empty_turn,
            settling.assistant_first,
            settling.consecutive,
            settling.user_last,
        ):
            step()
    if no_system:
        settling.system_prompt(no_system)
    settling.special_text(special, converted.tools)
    if not any(
        message["role"] == "assistant" and message.get("weight", 1) != 0
        for message in settling.messages
    ):
        raise Rejected("untrained", "no assistant message has a weight above 0")
    return Settled(settling.messages, settling.repairs, settling.places())


def _is_settled(converted: Converted, special: SpecialTexts, no_system: str) -> bool:
    """Whether no policy can be met, as in most rows: a plain conversation of texts alone that hold
    no picture's place and no control token."""
    messages = converted.messages
    if converted.met or converted.unknown or converted.tools or not _is_plain(messages):
        return False
    if no_system and messages[0]["role"] == "system":
        return False
    for message in messages:
        content = message["content"]
        if len(message) != 2 or ("<" in content and media_in(content)):
            return False
        if special.sign in content and special.token_in(message):
            return False
    return True


def _is_plain(messages: list[Message]) -> bool:
    """System or not, then user and assistant in turn, the assistant last, all with text: nothing to
    settle."""
    roles = [message["role"] for message in messages]
    exchanges, is_odd = divmod(len(roles), 2)
    before = ["system"] if is_odd else []
    if not exchanges or roles != before + _EXCHANGE * exchanges:
        return False
    for message in messages:
        content = message["content"]
        if type(content) is not str or not content or content.isspace():
            return False
    return True


_EXCHANGE = ["user", "assistant"]


class _Settling:
    """`_numbers` has the messages' numbers in the row, by identity; `_numbered` keeps them alive,
    so that no identity is used twice."""

    def __init__(self, converted: Converted, policies: Policies) -> None:
        self.messages = converted.messages
        self.repairs: dict[str, str] = {}
        self._policies = policies
        self._numbered = list(self.messages)
        self._places = converted.places

    @cached_property
    def _numbers(self) -> dict[int, int]:
        places = self._places or range(len(self._numbered))
        return {id(message): number for message, number in zip(self._numbered, places, strict=True)}

    def places(self) -> list[int]:
        """The messages' numbers in the row; none where they are as here."""
        return (
            [self.number(message) for message in self.messages]
            if self._places or self.repairs
            else []
        )

    def number(self, message: Message) -> int:
        return self._numbers[id(message)]

    def _where(self, message: Message) -> str:
        number = self.number(message)
        return f"message {number}" if number >= 0 else "the system prompt"

    def _renumbered(self, message: Message, earlier: Message) -> Message:
        """A message that stands in the place of an earlier one, under its number."""
        self._numbers[id(message)] = self.number(earlier)
        self._numbered.append(message)
        return message

    def meet(self, code: str, detail: str) -> None:
        """Go on if that is the policy's choice."""
        choice = getattr(self._policies, code)
        if choice in ("drop", "stop"):
            raise Rejected(code, detail)
        if choice == "repair":
            self.repairs.setdefault(code, detail)

    def media(self) -> None:
        suspects = [
            message
            for message in self.messages
            if type(message["content"]) is not str or "<" in message["content"]
        ]
        for message in suspects:
            if medium := media_in(message["content"]):
                self.meet("media", f"{self._where(message)} has {medium}")

    def content(self) -> None:
        settled = []
        for message in self.messages:
            content = message["content"]
            if content is None:
                message = self._renumbered({**message, "content": ""}, message)
            elif not isinstance(content, str):
                message = self._renumbered(
                    {**message, "content": self._text(message, content)}, message
                )
            settled.append(message)
        self.messages = settled

    def _text(self, message: Message, content: Any) -> str:
        if message["role"] == "assistant" and _are_texts(content):
            detail = (
                f"{self._where(message)} has {len(content)} answers, and nothing says which is the"
                " best"
            )
            self.meet("alternatives", detail)
            return str(content[0])
        text = _text_of(content)
        if text is None or "content" not in self.repairs:
            detail = f"{self._where(message)} has content that is not text but {_kind_of(content)}"
            self.meet("content", detail)
            if text is None:
                code = "media" if media_in(content) else "content"
                raise Rejected(code, f"{detail}, which cannot be converted to text")
        return text

    def unknown_role(self) -> None:
        unknown = next((message for message in self.messages if message["role"] not in ROLES), None)
        if unknown is not None:
            self.meet(
                "unknown_role", f"{self._where(unknown)} has the role {str(unknown['role'])[:40]!r}"
            )
            self.messages = [message for message in self.messages if message["role"] in ROLES]

    def late_system(self) -> None:
        begin = self._begin()
        late = [message for message in self.messages[begin:] if message["role"] == "system"]
        if late:
            self.meet("late_system", "there is a system message after the beginning")
            turns = [message for message in self.messages[begin:] if message["role"] != "system"]
            joined = "\n\n".join(
                message["content"]
                for message in (*self.messages[:begin], *late)
                if message["content"].strip()
            )
            first = self.messages[0] if begin else late[0]
            self.messages = [self._renumbered({"role": "system", "content": joined}, first), *turns]

    def empty_turn(self) -> None:
        empty = next((message for message in self.messages if _is_empty(message)), None)
        if empty is None:
            return
        self.meet("empty_turn", f"{self._where(empty)} has no text")
        # Of several messages in a row, the others say enough.
        filled: list[Message] = []
        for _, run in groupby(self.messages, key=lambda message: message["role"]):
            messages = list(run)
            filled += [message for message in messages if not _is_empty(message)] or (
                messages[:1] if messages[0]["role"] != "system" else []
            )
        kept: list[Message] = []
        for exchange in exchanges(filled):
            if not any(_is_empty(message) for message in exchange):
                kept += exchange
            elif exchange[0]["role"] != "user":
                kept += [message for message in exchange if not _is_empty(message)]
        self.messages = kept
        if all(message["role"] == "system" for message in kept):
            raise Rejected("empty_turn", "no exchange has both a question and an answer")

    def assistant_first(self) -> None:
        begin = self._begin()
        if begin < len(self.messages) and self.messages[begin]["role"] != "user":
            self.meet(
                "assistant_first", f"the first turn has the role {self.messages[begin]['role']}"
            )
            first = next(
                (index for index, message in enumerate(self.messages) if message["role"] == "user"),
                None,
            )
            if first is None:
                raise Rejected("assistant_first", "nobody speaks as the user")
            self.messages = [*self.messages[:begin], *self.messages[first:]]

    def consecutive(self) -> None:
        settled: list[Message] = []
        for message in self.messages:
            if not settled or message["role"] == "tool" or settled[-1]["role"] != message["role"]:
                settled.append(message)
                continue
            detail = (
                f"{self._where(message)} has the same role as the one before, {message['role']}"
            )
            self.meet("consecutive", detail)
            earlier = settled[-1]
            if (
                "tool_calls" in earlier
                or "tool_calls" in message
                or earlier.get("weight", 1) != message.get("weight", 1)
            ):
                raise Rejected(
                    "consecutive",
                    f"{detail}, and tool calls or different weights prevent joining them",
                )
            settled[-1] = self._renumbered(_joined(earlier, message), earlier)
        self.messages = settled

    def user_last(self) -> None:
        if self.messages and self.messages[-1]["role"] != "assistant":
            self.meet("user_last", f"the last turn has the role {self.messages[-1]['role']}")
            while self.messages and self.messages[-1]["role"] != "assistant":
                self.messages = self.messages[:-1]
            if not self.messages:
                raise Rejected("untrained", "there is no answer")

    def system_prompt(self, no_system: str) -> None:
        begin = self._begin()
        texts = [
            message["content"] for message in self.messages[:begin] if message["content"].strip()
        ]
        if not texts:
            return
        detail = f"it has a system prompt, and the chat template has no place for one: {no_system}"
        choice = self._policies.system_prompt
        if choice not in ("merge", "leave_out"):
            raise Rejected("system_prompt", detail)
        self.repairs.setdefault("system_prompt", detail)
        turns = self.messages[begin:]
        if choice == "merge":
            if not turns or turns[0]["role"] != "user":
                raise Rejected(
                    "system_prompt", f"{detail}; it does not begin with a question either"
                )
            question = {**turns[0], "content": "\n\n".join([*texts, turns[0]["content"]])}
            turns = [self._renumbered(question, turns[0]), *turns[1:]]
        self.messages = turns

    def special_text(self, special: SpecialTexts, tools: list[Message] | None) -> None:
        for index, message in enumerate(self.messages):
            token = special.token_in(message)
            if token is None:
                continue
            detail = f"{self._where(message)} contains the control token {token}"
            self.meet("special_text", detail)
            repaired = self._renumbered(special.broken_up(message), message)
            if special.token_in(repaired) is not None:
                raise Rejected("special_text", detail)
            self.messages = [*self.messages[:index], repaired, *self.messages[index + 1 :]]
        if tools and (token := special.token_in({"content": tools, "role": "tools"})) is not None:
            raise Rejected("special_text", f"its tools contain the control token {token}")

    def _begin(self) -> int:
        """How many system messages stand at the beginning."""
        return next(
            (index for index, message in enumerate(self.messages) if message["role"] != "system"),
            len(self.messages),
        )


def exchanges(messages: Sequence[Message]) -> list[list[Message]]:
    """The messages cut before each turn of the user; the first group is what comes before them, if
    anything does."""
    groups: list[list[Message]] = []
    for message in messages:
        begins = message["role"] == "user" and not (groups and groups[-1][-1]["role"] == "user")
        if begins or not groups:
            groups.append([message])
        else:
            groups[-1].append(message)
    return groups


def _is_empty(message: Message) -> bool:
    return (
        message["role"] != "tool"
        and not message["content"].strip()
        and not message.get("tool_calls")
    )


def _joined(earlier: Message, later: Message) -> Message:
    joined = dict(earlier)
    for key in ("content", "reasoning_content", "thinking"):
        parts = [message[key] for message in (earlier, later) if message.get(key)]
        if parts:
            joined[key] = "\n\n".join(parts)
    if earlier.get("name") != later.get("name"):
        joined.pop("name", None)
    return joined


# Parts of content that are text: in chat, and in OpenAI's responses.
_TEXT_PARTS = ("text", "input_text", "output_text")


def _are_texts(content: Any) -> bool:
    """Whether a list holds whole answers: several texts that are not one and the same."""
    return (
        isinstance(content, list)
        and all(isinstance(item, str) for item in content)
        and len({*content}) > 1
    )


def _kind_of(content: Any) -> str:
    """What content is that is no text, as the data calls it."""
    parts = content if isinstance(content, list) else [content]
    kinds = [
        str(part["type"])
        for part in parts
        if isinstance(part, dict) and part.get("type") not in (None, *_TEXT_PARTS)
    ]
    if kinds:
        return f"{type(content).__name__} with a part of the type `{kinds[0][:40]}`"
    return type(content).__name__


def _text_of(content: Any) -> str | None:
    """Text from parts as OpenAI has them, from a number, or from an object with a text; None if
    there is none to be had."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        text = content.get("text")
        is_text = isinstance(text, str) and content.get("type", "text") in _TEXT_PARTS
        return text if is_text else None
    if isinstance(content, bool | int | float):
        return json.dumps(content)
    if isinstance(content, list):
        texts = [_text_of(part) if isinstance(part, str | dict) else None for part in content]
        return None if None in texts else "\n".join(filter(None, texts))
    return None


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for key, inner in value.items() for text in (str(key), *_strings(inner))]
    return [text for inner in value for text in _strings(inner)] if isinstance(value, list) else []


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    """A value with each of its texts changed, keys included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(str(key)): _mapped(inner, change) for key, inner in value.items()}
    return [_mapped(inner, change) for inner in value] if isinstance(value, list) else value
