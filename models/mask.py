"""Where the trained text of a conversation lies: character spans in rendered text, before any token
is looked at.

What is trained: for each assistant turn exactly what a server would have to generate after its own
generation prompt to say that turn, up to and including the first stop token. `per_turn` is that
definition, word for word: it renders the server's prompt for each turn. `once` is quick: it renders
the whole conversation with marks around the answers. The preflight allows it for templates on which
both agree, and here only for plain conversations, whose text holds nothing that the template looks
for; everything else goes the slow way.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jobs.luthier_error import LuthierError
from models.conversations import Conversation
from models.template import REASONING_KEYS, Template, TemplateRefusal

# private use: no template and hardly any text holds it, and conversations that do go the slow way
MARK = "\ue0f7"
NO_PROMPT_HINT = "Give that message the weight 0, or put a user message before it."
_NO_CALLS_HINT = (
    "The model's chat template has no place for tool calls: choose a model whose template has, such"
    " as Qwen3."
)
_PLAIN_KEYS = {"role", "content", "weight"}


class MaskError(LuthierError):
    """A conversation whose trained tokens cannot be proved. `code` is what policies choose by;
    `turn` is a message index."""

    def __init__(
        self,
        code: str,
        conversation: Conversation,
        turn: int,
        reason: str,
        rendered: str,
        hint: str = "",
    ) -> None:
        message = f"{conversation.file}, row {conversation.row}, message {turn}: {reason}"
        excerpt = rendered if len(rendered) <= 2000 else f"{rendered[:900]} ... {rendered[-900:]}"
        self.advice = hint
        self.evidence = f"Rendered text: {excerpt!r}"
        super().__init__(
            "The loss mask cannot be proved",
            message,
            "\n".join(part for part in (self.advice, self.evidence) if part),
        )
        self.code = code
        self.file = conversation.file
        self.row = conversation.row
        self.turn = turn
        self.reason = reason
        self.rendered = rendered

    def to_json(self) -> dict[str, Any]:
        where = {"file": self.file, "row": self.row, "turn": self.turn}
        return {
            **super().to_json(),
            "code": self.code,
            **where,
            "reason": self.reason,
            "rendered": self.rendered,
        }


@dataclass(frozen=True)
class MaskOptions:
    """Which turns are trained. "everything" trains every token that is rendered, and reads no
    weights."""

    turns: Literal["all", "last", "everything"] = "all"

    def wanted(self, conversation: Conversation) -> list[int]:
        turns = conversation.trained_turns()
        return turns[-1:] if self.turns == "last" else turns


@dataclass(frozen=True)
class Span:
    """The trained text of one turn: text[start:end], stop token included."""

    turn: int
    start: int
    end: int


@dataclass(frozen=True)
class Rendering:
    """One text to train on, and the turns that are trained in it. `warnings` are codes; `left_out`
    has by turn the reasoning that the template leaves out."""

    text: str
    spans: tuple[Span, ...]
    warnings: tuple[str, ...] = ()
    left_out: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class Frame:
    """What stands around an answer in its trained text: before it (an empty thinking block, a
    channel) and after it (the stop token)."""

    lead: str
    trail: str

    def holds(self, trained: str, answer: str) -> bool:
        inner = trained[len(self.lead) : len(trained) - len(self.trail)]
        return (
            trained.startswith(self.lead)
            and trained.endswith(self.trail)
            and inner.strip() == answer
        )


@dataclass(frozen=True)
class TemplateFacts:
    """What masking needs to know of a template; the preflight finds it out."""

    stop_texts: tuple[str, ...]
    special_texts: tuple[str, ...]
    # ends of generation prompts that the template leaves out of the turns it renders
    scaffolds: tuple[str, ...] = ()
    # of plain answers; none while the preflight is still learning them
    frames: tuple[Frame, ...] = ()
    header: str = ""  # the generation prompt where marks are proved, else empty
    gap: str = ""  # what the template puts between the prompt and the answer's own text, likewise
    closing: str = ""  # from the answer's end through its stop token, likewise
    watched: tuple[str, ...] = ()  # words in content that the template acts on
    # what the template does to a system message that does not reach the text ("it leaves it out"),
    # else empty
    no_system: str = ""


class Masker:
    """Turns conversations into renderings, for one template."""

    def __init__(self, template: Template, facts: TemplateFacts) -> None:
        self.template = template
        self.facts = facts
        self._special = _any_of(facts.special_texts)
        self._special_initials = {text[0] for text in facts.special_texts}
        self._watched = _any_of((*facts.watched, MARK))
        self._watched_initials = {text[0] for text in (*facts.watched, MARK)}

    def renderings(self, conversation: Conversation, options: MaskOptions) -> list[Rendering]:
        """The texts to train on; every wanted turn is in exactly one. Raises MaskError."""
        normalised = self._normalised(conversation)
        joined = "\0".join([message["content"] for message in normalised.messages])
        self._refuse_special_text(normalised, joined)
        trained_turns = options.wanted(normalised)
        first = normalised.messages[0]
        if self.facts.no_system and first["role"] == "system" and first["content"].strip():
            hint = "Put it into the user's first message."
            reason = f"the chat template has no place for a system prompt: {self.facts.no_system}."
            raise MaskError("no_system_role", conversation, 0, reason, first["content"], hint)
        if options.turns == "everything":
            return [Rendering(self._text(normalised, len(normalised.messages) - 1), ())]
        if not trained_turns:
            raise MaskError(
                "nothing_trained", conversation, 0, "no assistant message has a weight above 0.", ""
            )
        if trained_turns[0] == 0:
            reason = "the first message is the assistant's, so it answers no prompt."
            raise MaskError(
                "no_prompt",
                conversation,
                0,
                reason,
                normalised.messages[0]["content"],
                NO_PROMPT_HINT,
            )
        if self.facts.header and self._plain(normalised, joined):
            rendering = self.once(normalised, set(trained_turns))
            if rendering is not None:
                return [rendering]
        return self.per_turn(normalised, trained_turns)

    def once(self, conversation: Conversation, trained_turns: set[int]) -> Rendering | None:
        """By one render with marks around the answers. None if anything is not as the preflight saw
        it."""
        header, gap, closing = self.facts.header, self.facts.gap, self.facts.closing
        marked, answers = [], []
        for index, message in enumerate(conversation.messages):
            if message["role"] == "assistant":
                content = message["content"]
                answer = content.strip()
                lead = content[: len(content) - len(content.lstrip())]
                trail = content[len(lead) + len(answer) :]
                answers.append((index, answer, lead, trail))
                message = {"role": "assistant", "content": f"{lead}{MARK}{answer}{MARK}{trail}"}
            marked.append(message)
        try:
            pieces = self.template.text(marked).split(MARK)
        except TemplateRefusal:
            return None
        if len(pieces) != 2 * len(answers) + 1:
            return None
        spans, position = [], 0
        for number, (turn, answer, lead, trail) in enumerate(answers):
            before, inner, after = pieces[2 * number : 2 * number + 3]
            start = _start(before, header + gap, lead)
            length = _end(after, closing, trail)
            if inner != answer or start is None or length is None:
                return None
            end = position + len(before) + len(answer)
            if turn in trained_turns:
                spans.append(Span(turn, position + start - len(gap), end + length))
            position = end
        return Rendering("".join(pieces), tuple(spans))

    def per_turn(self, conversation: Conversation, trained_turns: Sequence[int]) -> list[Rendering]:
        """By the definition. Turns that a longer rendering shows otherwise than their own do get a
        rendering of their own."""
        texts = [self._text(conversation, len(conversation.messages) - 1)]
        spans: list[list[Span]] = [[]]
        warnings: set[str] = set()
        left_out: dict[int, str] = {}
        for turn in reversed(trained_turns):
            start, up_to_turn, end = self._turn(conversation, turn, warnings)
            if reasoning := self._check_text(conversation, turn, up_to_turn[start:end], up_to_turn):
                left_out[turn] = reasoning
                warnings.add("reasoning_dropped")
            nearest_first = range(len(texts) - 1, -1, -1)
            text_index = next(
                (
                    text_number
                    for text_number in nearest_first
                    if texts[text_number].startswith(up_to_turn[:end])
                ),
                None,
            )
            if text_index is None:
                text_index = len(texts)
                texts.append(up_to_turn)
                spans.append([])
            spans[text_index].append(Span(turn, start, end))
        sorted_warnings = tuple(sorted(warnings))
        pairs = zip(texts, spans, strict=True)
        return [
            Rendering(
                text,
                tuple(reversed(of_text)),
                sorted_warnings,
                tuple((s.turn, left_out[s.turn]) for s in of_text if s.turn in left_out),
            )
            for text, of_text in pairs
            if of_text
        ][::-1]

    def alone(self, conversation: Conversation, turn: int) -> tuple[str, str]:
        """The context of a turn and its trained text, for a turn whose first character shares a
        token with its prompt."""
        start, up_to_turn, end = self._turn(self._normalised(conversation), turn, set())
        return up_to_turn[:start], up_to_turn[start:end]

    def _turn(
        self, conversation: Conversation, turn: int, warnings: set[str]
    ) -> tuple[int, str, int]:
        """Where the turn's trained text starts, the rendering that ends with the turn, and where
        the trained text ends."""
        up_to_turn = self._text(conversation, turn)
        prompt = self._text(conversation, turn - 1, prompt=True)
        start = len(prompt)
        if not up_to_turn.startswith(prompt):
            scaffold = next(
                (
                    end
                    for end in self.facts.scaffolds
                    if prompt.endswith(end) and up_to_turn.startswith(prompt[: -len(end)])
                ),
                None,
            )
            if scaffold is None:
                reason = "this turn does not begin with the prompt that the server renders."
                raise MaskError(
                    "prompt_not_kept",
                    conversation,
                    turn,
                    reason,
                    up_to_turn,
                    f"The server's prompt: {prompt[-300:]!r}",
                )
            start -= len(scaffold)
            warnings.add("prompt_scaffold_lost")
        end = self._closed(up_to_turn, start)
        if end is None:
            up_to_turn, end = self._closed_by_next(conversation, turn, up_to_turn, start)
        return start, up_to_turn, end

    def _closed(self, text: str, start: int) -> int | None:
        """Where the first of the stop tokens that close `text` ends; None if none does."""
        end = None
        unclosed = text.rstrip()
        while True:
            stop = next(
                (
                    stop
                    for stop in self.facts.stop_texts
                    if unclosed.endswith(stop) and len(unclosed) - len(stop) >= start
                ),
                None,
            )
            if stop is None:
                return end
            end = len(unclosed)
            unclosed = unclosed[: -len(stop)].rstrip()

    def _closed_by_next(
        self, conversation: Conversation, turn: int, up_to_turn: str, start: int
    ) -> tuple[str, int]:
        """For templates (GLM's) in which only the header of the next message is a stop token; an
        assumed one follows the last turn."""
        messages = conversation.messages
        message = messages[turn]
        following = messages[turn + 1] if turn + 1 < len(messages) else _assumed_next(message)
        body = up_to_turn.rstrip() if up_to_turn[start:].strip() else up_to_turn
        closing = self._added_by(conversation, turn, [*messages[: turn + 1], following], body)
        # the next message makes the template drop reasoning: see how it closes the turn where there
        # is none
        if closing is None:
            bare = {key: value for key, value in message.items() if key not in REASONING_KEYS}
            bare["content"] = message["content"].rpartition("</think>")[2].strip()
            plain_turns = [{"role": "user", "content": "Go on."}, bare]
            closing = self._added_by(
                conversation,
                turn,
                [*plain_turns, following],
                self._render(conversation, turn, plain_turns).rstrip(),
            )
        if closing is None:
            reason = f"no stop token ({', '.join(self.facts.stop_texts)}) closes this turn."
            raise MaskError("unclosed", conversation, turn, reason, up_to_turn)
        return body + closing, len(body) + len(closing)

    def _added_by(
        self, conversation: Conversation, turn: int, messages: list[dict[str, Any]], body: str
    ) -> str | None:
        """What the last message adds to `body` up to and including a stop token; None if anything
        else comes first."""
        longer = self._render(conversation, turn, messages)
        added = longer[len(body) :]
        stop = next(
            (stop for stop in self.facts.stop_texts if added.lstrip().startswith(stop)), None
        )
        if stop is None or not longer.startswith(body):
            return None
        return added[: len(added) - len(added.lstrip()) + len(stop)]

    def _check_text(
        self, conversation: Conversation, turn: int, trained: str, up_to_turn: str
    ) -> str:
        """The trained text is this answer, all of it, and of other messages nothing. Returns the
        reasoning that it lacks."""
        message = conversation.messages[turn]
        content = message["content"]
        reasoning = next((message[key] for key in REASONING_KEYS if message.get(key)), "")
        answer = content.rpartition("</think>")[2].strip()
        inline = answer != content.strip()
        if inline and not reasoning:
            reasoning = content.rpartition("</think>")[0].rpartition("<think>")[2]
        left_out = reasoning if reasoning.strip() not in trained else ""
        calls = message.get("tool_calls") or []
        if not reasoning and not calls and not inline and self.facts.frames:
            if not any(frame.holds(trained, answer) for frame in self.facts.frames):
                reason = f"the trained text is not the answer in its known frame, but {trained!r}."
                raise MaskError("text_changed", conversation, turn, reason, up_to_turn)
            return left_out
        names = [call["function"]["name"] for call in calls]
        missing = [part for part in (answer, *names) if part not in trained]
        if missing:
            is_call = missing[0] != answer
            hint = _NO_CALLS_HINT if is_call else ""
            part = f"the call of {missing[0]!r}" if is_call else repr(missing[0])
            reason = f"the template leaves out {part}."
            raise MaskError("text_dropped", conversation, turn, reason, up_to_turn, hint)
        return left_out

    def _plain(self, conversation: Conversation, joined: str) -> bool:
        """System or not, then user and assistant in turn, every message with text and with nothing
        that the template looks for."""
        messages = conversation.messages
        if conversation.tools or any(
            len(message) != 2 and not message.keys() <= _PLAIN_KEYS for message in messages
        ):
            return False
        roles = [message["role"] for message in messages]
        begin = int(roles[0] == "system")
        if set(roles[begin::2]) != {"user"} or set(roles[begin + 1 :: 2]) != {"assistant"}:
            return False
        if not all(message["content"].strip() for message in messages):
            return False
        return not (
            any(initial in joined for initial in self._watched_initials)
            and self._watched.search(joined)
        )

    def _refuse_special_text(self, conversation: Conversation, joined: str) -> None:
        """A control token typed as text would become one: the model would see a turn that nobody
        wrote."""
        extra = max(map(len, conversation.messages)) > 2
        if not extra and not any(initial in joined for initial in self._special_initials):
            return
        for turn, message in enumerate(conversation.messages):
            allowed = ("<think>", "</think>") if message["role"] == "assistant" else ()
            for text in _strings({key: value for key, value in message.items() if key != "role"}):
                control_token = next(
                    (match[0] for match in self._special.finditer(text) if match[0] not in allowed),
                    None,
                )
                if control_token is not None:
                    reason = f"its text contains the control token {control_token}."
                    raise MaskError(
                        "special_token_text",
                        conversation,
                        turn,
                        reason,
                        text,
                        "Write it differently, or drop that row.",
                    )

    def _normalised(self, conversation: Conversation) -> Conversation:
        if not self.template.normalises:
            return conversation
        messages = [
            {**message, "content": self.template.normalised(message["content"])}
            for message in conversation.messages
        ]
        return Conversation(messages, conversation.file, conversation.row, conversation.tools)

    def _text(self, conversation: Conversation, last: int, *, prompt: bool = False) -> str:
        return self._render(conversation, last, conversation.messages[: last + 1], prompt=prompt)

    def _render(
        self,
        conversation: Conversation,
        turn: int,
        messages: Sequence[dict[str, Any]],
        *,
        prompt: bool = False,
    ) -> str:
        try:
            return self.template.text(messages, conversation.tools, prompt=prompt)
        except TemplateRefusal as error:
            text = str(messages[turn]["content"])
            raise MaskError(
                "template_refuses", conversation, turn, f"the chat template refuses: {error}", text
            ) from None


def _start(before: str, header: str, lead: str) -> int | None:
    """Where `header` ends in `before`, the text up to an answer that follows `lead`, whitespace
    that templates may trim."""
    if lead and before.endswith(header + lead):
        return len(before) - len(lead)
    return len(before) if before.endswith(header) else None


def _end(after: str, closing: str, trail: str) -> int | None:
    """How far the closing reaches into `after`, likewise."""
    if trail and after.startswith(trail + closing):
        return len(trail) + len(closing)
    return len(closing) if after.startswith(closing) else None


def _assumed_next(message: dict[str, Any]) -> dict[str, Any]:
    calls = message.get("tool_calls")
    if not calls:
        return {"role": "user", "content": "Go on."}
    name = calls[0]["function"]["name"]
    return {
        "role": "tool",
        "content": "Done.",
        "name": name,
        "tool_call_id": calls[0].get("id", "call_0"),
    }


def _any_of(texts: Sequence[str]) -> re.Pattern[str]:
    return re.compile(
        "|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True)) or r"(?!)"
    )


def _strings(value: Any) -> list[str]:
    """Every string in a message, keys included."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for key, inner in value.items() for text in (key, *_strings(inner))]
    return [text for inner in value for text in _strings(inner)] if isinstance(value, list) else []
