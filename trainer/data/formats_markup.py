"""Conversations written as marked-up text: the templates of the common models and the headers of
older data sets, by a declared table.

What a markup's own signs say is no part of what anybody says: headers, ends of turns and the signs
around a text are taken away.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from trainer.data.formats_turns import Converted, Message, RowProblem, role_of

START, END = "<|im_start|>", "<|im_end|>"
_SEPARATOR = "<|im_sep|>"  # Phi-4 has it, ChatML not

# Signs that begin or end a whole text, whatever its markup.
_AROUND = re.compile(
    r"<s>|</s>|<bos>|<eos>|<pad>|<\|endoftext\|>|<\|begin_of_text\|>|<\|end_of_text\|>|<\|begin▁of▁sentence\|>|<｜begin▁of▁sentence｜>"
    r"|<｜end▁of▁sentence｜>|<BOS_TOKEN>|<EOS_TOKEN>|<\|eot_id\|>|<\|return\|>|<\|startoftext\|>|\[gMASK\]|<sop>"
)
_ALPACA_PREAMBLE = re.compile(r"Below is an? (?:instruction|question|conversation|dialogue)\b")


@dataclass(frozen=True)
class Markup:
    """How one markup writes a turn."""

    name: str
    title: str
    header: re.Pattern[str]
    """Begins a turn; its group `role` says whose."""
    ends: tuple[str, ...] = ()
    """Signs that close a turn."""
    closed: bool = False
    """Whether each turn needs one of the ends."""
    preamble: bool = False
    """Whether text before the first header is the system prompt; elsewhere nobody says it."""
    words: Mapping[str, str] = field(default_factory=dict)
    """The markup's own words for roles, in lower case."""

    def fits(self, text: str) -> bool:
        """Whether a text is in this markup: it begins with a header or the preamble of one, and
        somebody is asked or answers."""
        headers = list(self.header.finditer(text))
        if not headers:
            return False
        before = _AROUND.sub("", text[: headers[0].start()]).strip()
        roles = {self.role(header["role"], {}) for header in headers}
        if self.closed:
            return not before or self.ends[0] in text
        # a time before a name is no preamble
        if before and not (self.preamble and any(map(str.isalpha, before))):
            return False
        return {"user", "assistant"} <= roles

    def role(self, word: str, roles: Mapping[str, str]) -> str:
        word = word.strip()
        return roles.get(word) or self.words.get(word.casefold()) or role_of(word, roles)

    def read(self, text: str, roles: Mapping[str, str]) -> Converted:
        """Its turns. RowProblem for text that nobody says, and for a turn without the end that this
        markup gives each."""
        headers = list(self.header.finditer(text))
        before = _AROUND.sub("", text[: headers[0].start()] if headers else text).strip()
        messages: list[Message] = []
        repairs: tuple[str, ...] = ()
        if before and not self.preamble:
            raise RowProblem("outside_turns", f"{before[:40]!r} comes before the first turn")
        if _ALPACA_PREAMBLE.match(before):
            repairs = ("template_text",)
        elif before:
            messages.append({"role": "system", "content": before})
        ends = [*(header.start() for header in headers), len(text)][1:]
        for index, (header, end) in enumerate(zip(headers, ends, strict=True)):
            content = self._content(
                text[header.end() : end], index, is_last=index == len(headers) - 1
            )
            if content is not None:
                self._add(messages, self.role(header["role"], roles), content)
        return Converted(messages, None, repairs)

    def _content(self, body: str, index: int, *, is_last: bool) -> str | None:
        """What a turn says; None for an empty header at the end, at which a model would go on."""
        closings = [(body.find(end), end) for end in self.ends if end in body]
        if closings:
            at, end = min(closings)
            body, after = body[:at], _AROUND.sub("", body[at + len(end) :].replace(end, "")).strip()
            if after:
                raise RowProblem("outside_turns", f"{after[:40]!r} comes after turn {index}")
        content = without_edges(body)
        if is_last and index and not content and not closings:
            return None
        if self.closed and not closings:
            raise RowProblem("unclosed_turn", f"turn {index} has no {self.ends[0]}")
        return content

    def _add(self, messages: list[Message], role: str, content: str) -> None:
        if role != "input":
            messages.append({"role": role, "content": content})
        # Alpaca's input belongs to the instruction before it
        elif content and messages and messages[-1]["role"] == "user":
            messages[-1]["content"] = f"{messages[-1]['content']}\n\n{content}"
        elif content:
            messages.append({"role": "user", "content": content})


def without_edges(body: str) -> str:
    """A turn without spaces and the signs of a whole text at its edges."""
    stripped = body.strip()
    while (edge := _AROUND.match(stripped)) is not None:
        stripped = stripped[edge.end() :].strip()
    while (shorter := _END.sub("", stripped).strip()) != stripped:
        stripped = shorter
    return stripped


_END = re.compile(rf"(?:{_AROUND.pattern}|###)$")


@dataclass(frozen=True)
class _ChatML(Markup):
    """Nothing stands outside of its signs, and the spaces between them are the text's own."""

    def fits(self, text: str) -> bool:
        return START in text and END in text and _SEPARATOR not in text

    def read(self, text: str, roles: Mapping[str, str]) -> Converted:
        outside, *turns = text.split(START)
        if outside := _AROUND.sub("", outside).strip():
            raise RowProblem("outside_turns", f"{outside[:40]!r} comes before the first turn")
        messages: list[Message] = []
        for index, turn in enumerate(turns):
            body, end, after = turn.partition(END)
            word, newline, content = body.partition("\n")
            if not end and index and index == len(turns) - 1 and not content.strip():
                continue  # the header at which a model would go on
            if not end:
                raise RowProblem("unclosed_turn", f"turn {index} has no {END}")
            if after := _AROUND.sub("", after).strip():
                raise RowProblem("outside_turns", f"{after[:40]!r} comes after turn {index}")
            if not newline:
                raise RowProblem("not_a_message", f"turn {index} has no line that says who speaks")
            messages.append({"role": role_of(word.strip(), roles), "content": content})
        return Converted(messages)


@dataclass(frozen=True)
class _Brackets(Markup):
    """Llama 2 and Mistral: questions stand in brackets, answers between them."""

    def fits(self, text: str) -> bool:
        before, begin, after = text.partition("[INST]")
        return (
            bool(begin)
            and "[/INST]" in after
            and (not _AROUND.sub("", before).strip() or "[/SYSTEM_PROMPT]" in before)
        )

    def read(self, text: str, roles: Mapping[str, str]) -> Converted:
        if signs := re.search(r"\[(TOOL_CALLS|AVAILABLE_TOOLS|TOOL_RESULTS|IMG)\]", text):
            raise RowProblem(
                "tool_call",
                f"Luthier does not read {signs[0]} from marked-up text: write the row as messages",
            )
        messages: list[Message] = []
        before, *questions = re.split(r"\[INST\]", text)
        before = without_edges(re.sub(r"\[/?SYSTEM_PROMPT\]", "", before))
        if before:
            messages.append({"role": "system", "content": before})
        for index, question in enumerate(questions):
            asked, end, answer = question.partition("[/INST]")
            if not end:
                raise RowProblem("unclosed_turn", f"question {index} has no [/INST]")
            system = _SYSTEM.search(asked)
            if system is not None:
                messages.append({"role": "system", "content": system[1].strip()})
                asked = asked[: system.start()] + asked[system.end() :]
            messages.append({"role": "user", "content": asked.strip()})
            if answer := without_edges(answer):
                messages.append({"role": "assistant", "content": answer})
        return Converted(messages)


_SYSTEM = re.compile(r"<<SYS>>(.*?)<</SYS>>", re.DOTALL)


@dataclass(frozen=True)
class _Harmony(Markup):
    """gpt-oss: a message has a channel. Reasoning goes to the answer after it; what the template
    writes itself is left out."""

    def read(self, text: str, roles: Mapping[str, str]) -> Converted:
        headers = list(self.header.finditer(text))
        if (
            before := _AROUND.sub("", text[: headers[0].start()] if headers else text).strip()
        ) != "":
            raise RowProblem("outside_turns", f"{before[:40]!r} comes before the first turn")
        messages: list[Message] = []
        repairs: tuple[str, ...] = ()
        reasoning = ""
        ends = [*(header.start() for header in headers), len(text)][1:]
        for index, (header, end) in enumerate(zip(headers, ends, strict=True)):
            content = self._content(text[header.end() : end], index, is_last=False) or ""
            role, channel = self.role(header["role"], roles), header["channel"]
            if "to=" in header[0] or header["role"].startswith("functions."):
                raise RowProblem(
                    "tool_call",
                    "Luthier does not read Harmony's tool calls from marked-up text: write the"
                    " row as messages",
                )
            if role == "assistant" and channel == "analysis":
                reasoning = content
                continue
            if header["role"] == "system" and "# Valid channels" in content:
                repairs = ("template_text",)
                continue
            if header["role"] == "developer":
                content = content.removeprefix("# Instructions").strip()
            thought = {"reasoning_content": reasoning} if role == "assistant" and reasoning else {}
            reasoning = ""
            messages.append({"role": role, "content": content, **thought})
        return Converted(messages, None, repairs)


@dataclass(frozen=True)
class _InLine(Markup):
    """Roles in the midst of lines. Where they begin lines, the text is a transcript, in which such
    words may stand inside a line."""

    def fits(self, text: str) -> bool:
        at_lines = {
            self.role(header["role"], {})
            for line in text.split("\n")
            if (header := self.header.match(line.strip()))
        }
        return super().fits(text) and not {"user", "assistant"} <= at_lines


def _words(user: str, assistant: str, **further: str) -> dict[str, str]:
    return {
        **dict.fromkeys(user.split(), "user"),
        **dict.fromkeys(assistant.split(), "assistant"),
        **further,
    }


_ROLE_TOKENS = (
    "system|developer|user|human|prompter|assistant|bot|model|chatbot|observation|tool|ipython"
)
_HASH_WORDS = _words(
    "instruction human user question prompt query",
    "response assistant answer output gpt ai bot chatgpt",
    system="system",
    input="input",
)
_LINE_WORDS = _words("user human", "assistant ai bot gpt chatbot chatgpt model", system="system")

_HASH_NAMES = (
    "instruction|input|response|human|user|assistant|system|question|answer|prompt|query|output"
    "|gpt|ai|bot|chatgpt"
)
_COHERE = (
    r"<\|START_OF_TURN_TOKEN\|><\|(?P<role>USER|CHATBOT|SYSTEM)_TOKEN\|>(?:<\|START_RESPONSE\|>)?"
)
_HARMONY = (
    r"<\|start\|>(?P<role>[\w.]+)(?: to=[\w.]+)?"
    r"(?:<\|channel\|>(?P<channel>\w+)[^<]*)?(?:<\|constrain\|>\w+)?<\|message\|>"
)
_VICUNA = r"(?:^|(?<=[\s>]))(?P<role>USER|ASSISTANT|GPT|SYSTEM):\s?"
_BOLD = r"^[ \t]*\*\*(?P<role>human|user|bot|ai|assistant|system)(?::\*\*|\*\*:)\s?"
_IN_LINE = r"(?:^|(?<=[\s>]))(?P<role>User|Human|Assistant|AI|Bot|GPT|System):\s?"
_ANY_CASE = re.IGNORECASE
# Where a text fits several, the one whose header stands first in it is meant, and of those the
# first here.
MARKUPS: tuple[Markup, ...] = (
    Markup(
        "phi4",
        "Phi-4",
        re.compile(r"<\|im_start\|>(?P<role>[\w ]+)<\|im_sep\|>\n?"),
        (END,),
        closed=True,
    ),
    _ChatML("chatml", "ChatML", re.compile(r"<\|im_start\|>(?P<role>[^\n<|]*)\n")),
    Markup(
        "kimi",
        "Kimi",
        re.compile(r"<\|im_(?P<role>user|assistant|system)\|>[^<]*<\|im_middle\|>"),
        (END,),
        closed=True,
    ),
    Markup(
        "llama3",
        "Llama 3",
        re.compile(r"<\|start_header_id\|>(?P<role>[^<|\n]+)<\|end_header_id\|>\s*"),
        ("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"),
        closed=True,
    ),
    Markup(
        "llama4",
        "Llama 4",
        re.compile(r"<\|header_start\|>(?P<role>[^<|\n]+)<\|header_end\|>\s*"),
        ("<|eot|>", "<|eom|>"),
        closed=True,
    ),
    Markup(
        "gemma",
        "Gemma",
        re.compile(r"<start_of_turn>(?P<role>\w+)\n?"),
        ("<end_of_turn>",),
        closed=True,
    ),
    Markup(
        "cohere",
        "Command R",
        re.compile(_COHERE),
        ("<|END_RESPONSE|>", "<|END_OF_TURN_TOKEN|>"),
        closed=True,
    ),
    Markup(
        "granite",
        "Granite",
        re.compile(r"<\|start_of_role\|>(?P<role>\w+)(?:\s[^<]*)?<\|end_of_role\|>"),
        ("<|end_of_text|>",),
        closed=True,
    ),
    _Harmony(
        "harmony",
        "Harmony (gpt-oss)",
        re.compile(_HARMONY),
        ("<|end|>", "<|return|>", "<|call|>"),
        closed=True,
    ),
    Markup(
        "deepseek",
        "DeepSeek",
        re.compile(r"<｜(?P<role>User|Assistant)｜>"),
        ("<｜end▁of▁sentence｜>",),
        preamble=True,
    ),
    Markup(
        "roles",
        "role tokens (Zephyr, Phi-3, OpenAssistant, GLM)",
        re.compile(rf"<\|(?P<role>{_ROLE_TOKENS})\|>\s?", _ANY_CASE),
        ("<|end|>", "</s>", "<|endoftext|>"),
    ),
    Markup(
        "openchat",
        "OpenChat",
        re.compile(r"GPT4 Correct (?P<role>User|Assistant):\s?"),
        ("<|end_of_turn|>",),
    ),
    _Brackets("inst", "Llama 2 and Mistral", re.compile(r"\[INST\](?P<role>)")),
    Markup(
        "baize",
        "bracketed roles (Baize, EXAONE)",
        re.compile(r"\[\|(?P<role>human|ai|user|assistant|system)\|\]\s?", _ANY_CASE),
        ("[|endofturn|]",),
    ),
    Markup(
        "angle",
        "roles in angle brackets",
        re.compile(
            r"(?:^|(?<=>))[ \t]*<(?P<role>human|user|bot|assistant|system)>:?[ \t]*",
            re.MULTILINE | _ANY_CASE,
        ),
        ("</human>", "</user>", "</bot>", "</assistant>", "</system>"),
    ),
    Markup(
        "hash",
        "### headers (Alpaca, Guanaco)",
        re.compile(rf"###\s*(?P<role>{_HASH_NAMES})[ \t]*(?::\s?|\n)", _ANY_CASE),
        preamble=True,
        words=_HASH_WORDS,
    ),
    Markup(
        "bold",
        "roles in bold",
        re.compile(_BOLD, re.MULTILINE | _ANY_CASE),
        preamble=True,
        words=_LINE_WORDS,
    ),
    Markup(
        "vicuna",
        "USER: and ASSISTANT: (Vicuna)",
        re.compile(_VICUNA),
        ("</s>",),
        preamble=True,
        words=_LINE_WORDS,
    ),
    Markup(
        "moss",
        "MOSS",
        re.compile(r"(?:<\||\[)(?P<role>Human|MOSS)(?:\|>|\]):[ \t]?"),
        ("<eoh>", "<eom>", "<eoa>"),
        preamble=True,
        words=_words("human", "moss"),
    ),
    _InLine("words", "User: and Assistant: in one line", re.compile(_IN_LINE)),
)
BY_NAME = {markup.name: markup for markup in MARKUPS}


# One of these stands in a text that has a markup, and one of those at the end of a prompt in it:
# most prompts are told by them quickly.
_SIGNS = re.compile(
    r"<[|｜]|<start_of_turn>|\[INST\]|\[\||###|ASSISTANT:|GPT4 Correct|<bot>|<assistant>"
)
_PROMPT_ENDS = (":", ">", "]", "assistant", "model", "response", "answer", "output")


def continued_markup(prompt: str, answer: str) -> Converted | None:
    """The conversation of a prompt that ends where a markup has the assistant go on, and the
    answer; None for any other prompt."""
    if not prompt[-40:].rstrip().casefold().endswith(_PROMPT_ENDS) or not _SIGNS.search(prompt):
        return None
    text = f"{prompt.rstrip()} {answer}"
    markup = markup_of(text)
    if markup is None:
        return None
    last = list(markup.header.finditer(prompt))[-1:]
    ends = prompt.rstrip().endswith("[/INST]") or any(
        markup.role(header["role"], {}) == "assistant" and not prompt[header.end() :].strip()
        for header in last
    )
    if not ends:
        return None
    try:
        return markup.read(f"{prompt}{answer}", {})
    except RowProblem as problem:
        if problem.code != "unclosed_turn":
            raise
        return markup.read(f"{prompt}{answer}{markup.ends[0] if markup.ends else END}", {})


def markup_of(text: str) -> Markup | None:
    """The markup that a text is in."""
    fitting = [markup for markup in MARKUPS if markup.fits(text)]
    return min(fitting, key=lambda markup: _first(markup, text), default=None)


def _first(markup: Markup, text: str) -> int:
    header = markup.header.search(text)
    return header.start() if header is not None else len(text)
