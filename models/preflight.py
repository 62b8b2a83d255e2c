"""Before any data: what a model's chat template does, found out by rendering probes, as checks with
names.

It also decides how conversations are masked. "once": one render with marks around the answers,
allowed where it gives the spans of the definition on every probe. "per_turn": the definition
itself, for templates that rewrite earlier turns, close a turn only with the next message, or treat
answers in any other way that marks cannot show.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from models.conversations import Conversation
from models.folder import ModelFolder
from models.mask import Frame, Masker, MaskError, Rendering, TemplateFacts
from models.template import Template, TemplateRefusal, served_stop_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Status = Literal["ok", "warn", "fail"]
# What generation prompts put before the answer for reasoning models, and templates may leave out of
# turns already given.
_SCAFFOLD = re.compile(
    r"(?:<think>\s*(?:</think>\s*)?|</think>\s*|<\|channel>thought\s*(?:<channel\|>)?\s*|<\|START_THINKING\|>(?:<\|END_THINKING\|>)?\s*)\Z"
)
_FUNCTION = {
    "name": "weather",
    "description": "Tells the weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
TOOLS: list[dict[str, Any]] = [{"type": "function", "function": _FUNCTION}]
_CALL = {
    "id": "call00001",
    "type": "function",
    "function": {"name": "weather", "arguments": {"city": "Sonborg"}},
}


@dataclass(frozen=True)
class Check:
    name: str
    status: Status
    detail: str


@dataclass(frozen=True)
class TemplateReport:
    """The checks, and what masking and the plan need to know. `parts`: content is given to the
    template as a list of parts."""

    checks: tuple[Check, ...]
    strategy: Literal["once", "per_turn"]
    stop_ids: tuple[int, ...]
    facts: TemplateFacts
    parts: bool
    embedding_size: int | None

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.checks if check.status == "fail"]

    def to_json(self) -> dict[str, Any]:
        return {
            "strategy": self.strategy,
            "stop_ids": list(self.stop_ids),
            "checks": [asdict(check) for check in self.checks],
        }


def check_template(
    tokenizer: PreTrainedTokenizerBase, model_directory: Path, *, grows: bool = False
) -> TemplateReport:
    """The preflight of a model. `grows`: it will get embeddings for all tokens there are.
    LuthierError if it names no stop token at all."""
    size = ModelFolder(model_directory).vocabulary_size
    if grows and size is not None:
        size = max(size, len(tokenizer))
    return probe_template(tokenizer, served_stop_ids(tokenizer, model_directory), size)


def probe_template(
    tokenizer: PreTrainedTokenizerBase, stop_ids: Set[int], size: int | None
) -> TemplateReport:
    """The preflight of a template and tokenizer; `size` is the number of embeddings, None where
    unknown."""
    return _Preflight(tokenizer, stop_ids, size).report()


def _plain(*contents: str, system: str = "", name: str = "probe") -> Conversation:
    """A conversation of user and assistant in turn."""
    roles = ("user", "assistant")
    messages = [
        {"role": roles[index % 2], "content": content} for index, content in enumerate(contents)
    ]
    return Conversation(
        [{"role": "system", "content": system}, *messages] if system else messages, f"({name})", 0
    )


_CHAT = (
    "What is a verb?",
    "Qword one.",
    "And a noun?",
    "Qword two,\n\nin two lines.",
    "And an adverb?",
    "Qword three.",
)
_PROBES = {
    "one turn": _plain(*_CHAT[:2], name="one turn"),
    "two turns": _plain(*_CHAT[:4], name="two turns"),
    "three turns": _plain(*_CHAT, name="three turns"),
    "system, one turn": _plain(*_CHAT[:2], system="Qsystem be kind.", name="system, one turn"),
    "system, three turns": _plain(*_CHAT, system="Qsystem be kind.", name="system, three turns"),
    "waiting for an answer": _plain(*_CHAT[:5], name="waiting for an answer"),
    "whitespace around text": _plain(
        " \n Hello. ",
        "  Qword. \n",
        "More\n",
        "\n\n Qword again.\n\n",
        name="whitespace around text",
    ),
    "code": _plain(
        "Show me.",
        "```python\nif x < 3:\n    print('[x]', {'a': 1})\n```",
        "And?",
        "# Title\n\n* a\n* b",
        name="code",
    ),
    "other scripts": _plain(
        "你好 😀", "مرحبا 👩‍👩‍👧 שלום", "Grüße", "naïve café ✨", name="other scripts"
    ),
    "many turns": _plain(*(f"Text number {number}." for number in range(24)), name="many turns"),
}
_REASONING = Conversation(
    [
        {"role": "user", "content": "What is a verb?"},
        {"role": "assistant", "content": "Qword one.", "reasoning_content": "Qthought one."},
        {"role": "user", "content": "And a noun?"},
        {"role": "assistant", "content": "Qword two.", "reasoning_content": "Qthought two."},
    ],
    "(reasoning)",
    0,
)
_TOOL_USE = Conversation(
    [
        {"role": "user", "content": "How is the weather in Sonborg?"},
        {"role": "assistant", "content": "", "tool_calls": [_CALL]},
        {"role": "tool", "content": "Qrainy", "name": "weather", "tool_call_id": "call00001"},
        {"role": "assistant", "content": "Qword wet."},
    ],
    "(tools)",
    0,
    TOOLS,
)


class _Preflight:
    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, stop_ids: Set[int], size: int | None
    ) -> None:
        self.tokenizer = tokenizer
        self.size = size
        self.checks: list[Check] = []
        self.parts = self._needs_parts()
        self.template = Template(tokenizer, parts=self.parts)
        self.stop_ids = set(stop_ids)
        special = {str(text) for text in tokenizer.all_special_tokens}
        special |= {
            added.content for added in tokenizer.added_tokens_decoder.values() if added.special
        }
        self.facts = TemplateFacts(self._texts(stop_ids), tuple(sorted(special)))

    def report(self) -> TemplateReport:
        self._check_roles()
        self._check_prompt()
        self._learn_unlisted_stop()
        self._check_stop()
        spans = self._definition()
        self._check_history(spans)
        self._check_reasoning()
        self._check_tools()
        self._check_tokens()
        strategy = self._decide(spans)
        return TemplateReport(
            tuple(self.checks),
            strategy,
            tuple(sorted(self.stop_ids)),
            self.facts,
            self.parts,
            self.size,
        )

    def _note(self, name: str, status: Status, detail: str) -> None:
        self.checks.append(Check(name, status, detail))

    def _texts(self, tokens: Set[int]) -> tuple[str, ...]:
        decoded = (
            self.tokenizer.decode(
                [token], skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
            for token in sorted(tokens)
        )
        return tuple(sorted({text for text in decoded if text.strip()}, key=len, reverse=True))

    def _needs_parts(self) -> bool:
        """Whether the template reads content from a list of parts only (some for pictures do)."""
        probe = _PROBES["one turn"].messages
        for parts in (False, True):
            try:
                text = Template(self.tokenizer, parts=parts).text(probe)
            except TemplateRefusal:
                continue
            if "Qword one." in text and "What is a verb?" in text:
                return parts
        return False

    def _check_roles(self) -> None:
        """Each role's text appears; the system's also in the render that training sees, which some
        templates leave it out of."""
        for role, probe, expected_words in (
            ("user and assistant", _PROBES["three turns"], _CHAT),
            ("system", _PROBES["system, three turns"], ("Qsystem be kind.", *_CHAT)),
        ):
            try:
                text = self.template.text(probe.messages)
                prompt = self.template.text(probe.messages[:-1], prompt=True)
            except TemplateRefusal as error:
                self._refused(role, str(error))
                continue
            missing = [word for word in expected_words if word not in text]
            unprompted = [word for word in expected_words[:-1] if word not in prompt]
            if missing or unprompted:
                where = "training's render" if missing else "the server's prompt"
                status: Status = "warn" if role == "system" else "fail"
                if missing[:1] == ["Qsystem be kind."]:
                    self._no_system("it leaves it out")
                else:
                    self._note(role, status, f"{where} leaves out {(missing or unprompted)[0]!r}.")
            else:
                self._note(
                    role,
                    "ok",
                    "The text of every message appears in training and in the server's prompt.",
                )

    def _refused(self, role: str, refusal: str) -> None:
        """One that refuses the users' turns too has said nothing of system messages."""
        if role != "system":
            self._note(role, "fail", f"The template refuses: {refusal}")
            return
        if any(check.status == "fail" for check in self.checks):
            self._note(role, "warn", f"The template refuses: {refusal}")
        else:
            self._no_system(f"it refuses one with {refusal.rstrip('.')!r}")

    def _no_system(self, evidence: str) -> None:
        self.facts = replace(self.facts, no_system=evidence)
        detail = (
            f"The template has no place for a system prompt ({evidence}), so the server has none"
            " either. For training, policy.system_prompt decides."
        )
        self._note("system", "warn", detail)

    def _check_prompt(self) -> None:
        """The server's prompt is how training begins a turn, but for a thinking scaffold, which is
        then remembered."""
        scaffolds, broken = set(), []
        for probe in (*_PROBES.values(), _REASONING):
            for turn in probe.trained_turns():
                try:
                    with_turn = self.template.text(probe.messages[: turn + 1])
                    prompt = self.template.text(probe.messages[:turn], prompt=True)
                except TemplateRefusal:
                    continue
                if with_turn.startswith(prompt):
                    continue
                scaffold = _SCAFFOLD.search(prompt)
                if scaffold and with_turn.startswith(prompt[: scaffold.start()]):
                    scaffolds.add(scaffold[0])
                else:
                    broken.append(f"{probe.file[1:-1]}, message {turn}")
        self.facts = replace(self.facts, scaffolds=tuple(sorted(scaffolds, key=len, reverse=True)))
        if broken:
            everywhere = "one turn, message 1" in broken
            self._note(
                "generation prompt",
                "fail" if everywhere else "warn",
                "The server's prompt differs from how training begins the turn in:"
                f" {'; '.join(broken[:4])}.",
            )
        elif scaffolds:
            lost = ", ".join(repr(scaffold) for scaffold in self.facts.scaffolds)
            detail = (
                f"The template leaves {lost} of the server's prompt out of earlier turns, so these"
                " are trained without it."
            )
            self._note("generation prompt", "warn", detail)
        else:
            self._note(
                "generation prompt",
                "ok",
                "The server's prompt is a prefix of what training sees, at every turn.",
            )

    def _learn_unlisted_stop(self) -> None:
        """A special token may close each turn without being listed as one that ends generation."""
        if self._ends(_PROBES["one turn"]) is not None:
            return
        text = (
            self.template.text(_PROBES["one turn"].messages).rstrip()
            if self._renders(_PROBES["one turn"])
            else ""
        )
        stop = next(
            (special for special in self.facts.special_texts if text.endswith(special)), None
        )
        if stop is None:
            return
        self.stop_ids.add(int(self.tokenizer.convert_tokens_to_ids(stop)))
        self.facts = replace(self.facts, stop_texts=self._texts(self.stop_ids))
        detail = (
            f"{stop} closes each turn, but neither eos_token nor generation_config.json (or"
            " config.json, where that is missing) lists it: a server would continue past it."
        )
        self._note("stop token is listed", "warn", detail)

    def _check_stop(self) -> None:
        ends = {self._ends(_PROBES[name]) for name in ("one turn", "three turns")}
        if None in ends:
            self._note(
                "stop token",
                "fail",
                f"No stop token ({', '.join(self.facts.stop_texts)}) closes an assistant turn.",
            )
        else:
            ending_texts = ", ".join(sorted(str(end) for end in ends))
            self._note(
                "stop token", "ok", f"{ending_texts} closes each assistant turn and is trained."
            )
        pad = self.tokenizer.pad_token_id
        if pad is not None and pad in self.stop_ids:
            detail = (
                f"{self.tokenizer.pad_token} is both the padding token and a stop token. Luthier"
                " masks padding by position, so the stop token is still trained."
            )
            self._note("padding token", "warn", detail)
        else:
            self._note("padding token", "ok", "The padding token is not a stop token.")

    def _ends(self, probe: Conversation) -> str | None:
        """The stop token that ends the probe's last trained turn, None if there is none."""
        try:
            rendering = Masker(self.template, self.facts).per_turn(
                probe, probe.trained_turns()[-1:]
            )[-1]
        except MaskError:
            return None
        text = rendering.text[: rendering.spans[-1].end]
        return next((stop for stop in self.facts.stop_texts if text.endswith(stop)), None)

    def _renders(self, probe: Conversation) -> bool:
        try:
            self.template.text(probe.messages, probe.tools)
        except TemplateRefusal:
            return False
        return True

    def _definition(self) -> dict[str, list[Rendering] | None]:
        """The renderings of each probe by the definition (None: refused), from which the frames of
        plain answers are learned."""
        masker = Masker(self.template, self.facts)
        renderings: dict[str, list[Rendering] | None] = {}
        frames = set()
        for name, probe in (*_PROBES.items(), ("tools", _TOOL_USE)):
            try:
                renderings[name] = masker.per_turn(probe, probe.trained_turns())
            except MaskError:
                renderings[name] = None
                continue
            for rendering in renderings[name] or ():
                for span in rendering.spans:
                    answer = probe.messages[span.turn]["content"].strip()
                    lead, _, trail = rendering.text[span.start : span.end].partition(answer or "\0")
                    if trail:
                        frames.add(Frame(lead.rstrip(), trail.lstrip()))
        self.facts = replace(
            self.facts, frames=tuple(sorted(frames, key=lambda frame: (frame.lead, frame.trail)))
        )
        return renderings

    def _check_history(self, spans: dict[str, list[Rendering] | None]) -> None:
        renderings = spans["three turns"]
        if renderings is None:
            self._note(
                "history", "fail", "Luthier cannot mask a plain conversation of three turns."
            )
        elif len(renderings) > 1:
            detail = (
                f"The template rewrites earlier turns: 3 turns become {len(renderings)} samples."
            )
            self._note("history", "warn", detail)
        else:
            self._note(
                "history",
                "ok",
                "Earlier turns stay unchanged, so one sample holds all turns.",
            )

    def _check_reasoning(self) -> None:
        try:
            renderings = Masker(self.template, self.facts).per_turn(_REASONING, [1, 3])
        except MaskError as error:
            self._note("reasoning", "warn", f"Conversations with reasoning_content: {error.reason}")
            return
        trained = "".join(
            rendering.text[span.start : span.end]
            for rendering in renderings
            for span in rendering.spans
        )
        if "Qthought one." in trained and "Qthought two." in trained:
            self._note(
                "reasoning",
                "ok",
                f"reasoning_content is trained; 2 turns with it become {len(renderings)}"
                " sample(s).",
            )
        else:
            self._note(
                "reasoning",
                "warn",
                "The template leaves out reasoning_content, so it is not trained.",
            )

    def _check_tools(self) -> None:
        try:
            renderings = Masker(self.template, self.facts).per_turn(_TOOL_USE, [1, 3])
        except MaskError as error:
            reason = (
                "the template leaves out the calls."
                if error.code == "text_dropped"
                else error.reason
            )
            self._note("tools", "warn", f"Conversations with tool calls: {reason}")
            return
        texts = "".join(rendering.text for rendering in renderings)
        parts = {
            "Tells the weather.": "what the tools do",
            "Qrainy": "the tools' results",
            "Sonborg": "the arguments of calls",
        }
        missing = [part for text, part in parts.items() if text not in texts]
        if missing:
            self._note(
                "tools",
                "warn",
                f"The template leaves {missing[0]} out of a conversation with tools.",
            )
        else:
            self._note("tools", "ok", "The template renders tools, tool calls and their results.")

    def _check_tokens(self) -> None:
        tokenizer, bos = self.tokenizer, self.tokenizer.bos_token_id
        probe = next(
            (
                probe
                for probe in (_PROBES["system, three turns"], _PROBES["three turns"])
                if self._renders(probe)
            ),
            None,
        )
        if probe is None:
            return
        text = self.template.text(probe.messages)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if bos is not None and ids[:2] == [bos, bos]:
            self._note("BOS once", "fail", f"{tokenizer.bos_token} appears twice at the beginning.")
        else:
            begins = bos is not None and ids[:1] == [bos]
            self._note(
                "BOS once",
                "ok",
                (
                    f"{tokenizer.bos_token} begins the text, once."
                    if begins
                    else "The template writes none, in training and in serving."
                ),
            )
        decoded = tokenizer.decode(
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        is_same = "".join(decoded.split()) == "".join(text.split())
        self._note(
            "round trip",
            "ok" if is_same else "fail",
            (
                "The tokens decode to the original text."
                if is_same
                else f"{text[:80]!r} comes back as {decoded[:80]!r}."
            ),
        )
        if self.size is not None:
            status: Status = "warn" if len(tokenizer) > self.size else "ok"
            if max(ids) >= self.size:
                status = "fail"
            detail = (
                f"Highest token of a probe: {max(ids)}; the model has vectors for {self.size}; the"
                f" tokenizer knows {len(tokenizer)}."
            )
            self._note("vocabulary", status, detail)
        if "strftime_now" in str(tokenizer.chat_template):
            self._note(
                "date",
                "warn",
                "The template writes today's date into the prompt: training sees the day on which"
                " the data was prepared, serving another day.",
            )

    def _decide(self, spans: dict[str, list[Rendering] | None]) -> Literal["once", "per_turn"]:
        """ "once" where marks give the definition's spans on each probe; the reason for the choice
        is a check of its own."""
        header, gap, closing = _shape_of_a_turn(spans["one turn"])
        reason = "the form of a single turn is unknown" if not header else ""
        facts = replace(
            self.facts,
            header=header,
            gap=gap,
            closing=closing,
            watched=_watched_words(self.tokenizer),
        )
        masker = Masker(self.template, facts)
        for name, probe in _PROBES.items():
            if reason:
                break
            by_definition = spans[name]
            if by_definition is None and not self._renders(probe):
                continue
            if (
                by_definition is None
                or [masker.once(probe, set(probe.trained_turns()))] != by_definition
            ):
                reason = f"one marked render differs from the definition for: {name}"
        if reason:
            self._note("strategy", "ok", f"Turn by turn: {reason}.")
            return "per_turn"
        self.facts = facts
        self._note(
            "strategy",
            "ok",
            f"One marked render per conversation: it yields the defined spans on {len(_PROBES)}"
            " shapes.",
        )
        return "once"


def _shape_of_a_turn(renderings: Sequence[Rendering] | None) -> tuple[str, str, str]:
    """The generation prompt after the user's text, what stands between it and the answer, and what
    closes the answer; empty if unclear."""
    if not renderings:
        return "", "", ""
    text, span = renderings[0].text, renderings[0].spans[0]
    header = text[: span.start].rpartition("What is a verb?")[2]
    gap, _, closing = text[span.start : span.end].partition("Qword one.")
    return (header, gap, closing) if header.strip() and closing else ("", "", "")


def _watched_words(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """The words that a template compares text with or cuts it at: a conversation that holds one may
    be rendered in another way."""
    from jinja2 import nodes
    from transformers.utils.chat_template_utils import _compile_jinja_template

    source = tokenizer.get_chat_template(None, None)
    tree = _compile_jinja_template(source).environment.parse(source)
    looking = [
        *tree.find_all(nodes.Compare),
        *(call for call in tree.find_all(nodes.Call) if isinstance(call.node, nodes.Getattr)),
    ]
    words = {
        constant.value
        for node in [*looking, *tree.find_all(nodes.Filter)]
        for constant in node.find_all(nodes.Const)
    }
    # names of roles and keys, not of text
    harmless = {"system", "user", "assistant", "tool", "content", "role", "text", "type"}
    return tuple(
        sorted(
            word
            for word in words
            if isinstance(word, str) and word.strip() and word not in harmless
        )
    )
