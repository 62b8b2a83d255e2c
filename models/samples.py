"""From conversations to the token ids and labels of training: render, tokenise, mask, verify.

Renderings come from models.mask. All texts of a batch are tokenised in one call on all cores; the
byte lengths of the tokens then give each span's place by bisection, and their bytes, joined, must
be the rendered text again. Each trained turn must start at a token's edge, after exactly the tokens
that the server would make of its prompt, and end in its only stop token. A turn whose first
character shares a token with its prompt is split there, as generation does, in a sample of its own.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from models.bounds import bounded
from models.conversations import Conversation
from models.mask import Masker, MaskError, MaskOptions, Rendering, Span
from models.preflight import TemplateReport
from models.stored_sample import UNTRAINED
from models.template import Template

if TYPE_CHECKING:
    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerBase

# of prompts that are remembered: headers are few, but some templates have none, and all tails
# differ
_TAILS = 4096
# conversations tokenised at once: enough for all cores, few enough to stay in the cache
_BATCH = 64


@dataclass(frozen=True)
class Sample:
    """One text as token ids. `labels` equals `input_ids` where trained and is -100 elsewhere;
    `turns` are the message indices trained.

    `weights` has one figure a token where some trained message has a weight other than 1, else it
    is None. `left_out` are the tokens of reasoning that the template leaves out.
    """

    conversation: Conversation
    turns: list[int]
    input_ids: list[int]
    labels: list[int]
    weights: list[float] | None = None
    warnings: tuple[str, ...] = ()
    left_out: int = 0

    def to_json(self) -> dict[str, Any]:
        record = {
            "source": self.conversation.source,
            "turns": self.turns,
            "input_ids": self.input_ids,
            "labels": self.labels,
        }
        return record if self.weights is None else {**record, "weights": self.weights}


def samples(
    conversations: Sequence[Conversation],
    tokenizer: PreTrainedTokenizerBase,
    report: TemplateReport,
    options: MaskOptions | None = None,
) -> list[Sample | MaskError]:
    """The samples of all conversations, in order: one or more of each, or the one error that says
    why there is none."""
    return list(Sampler(tokenizer, report, options or MaskOptions()).samples(conversations))


class _Straddle(Exception):
    """A turn's first character shares a token with its prompt."""

    def __init__(self, span: Span) -> None:
        self.span = span


@dataclass(frozen=True)
class _Rendered:
    conversation: Conversation
    renderings: list[Rendering]
    error: MaskError | None = None


class Sampler:
    """What `samples` does, for callers that come with one batch after the other."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, report: TemplateReport, options: MaskOptions
    ) -> None:
        self._tokenizer = tokenizer
        self._backend = tokenizer.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()
        self._options = options
        self._masker = Masker(Template(tokenizer, parts=report.parts), report.facts)
        self._stops = frozenset(report.stop_ids)
        self._size = (
            report.embedding_size
            if report.embedding_size is not None and len(tokenizer) > report.embedding_size
            else None
        )
        self._added = frozenset(tokenizer.added_tokens_decoder)
        self._bytes = _token_bytes(tokenizer)
        # Where bytes tell the places, offsets need not be made.
        self._encode = (
            self._backend.encode_batch if self._bytes is None else self._backend.encode_batch_fast
        )
        self._tails: dict[tuple[int, str], list[int]] = {}

    def samples(self, conversations: Sequence[Conversation]) -> Iterator[Sample | MaskError]:
        """In order. While one batch is masked, the next is tokenised: that runs outside of Python's
        lock."""
        waiting: tuple[list[_Rendered], Future[list[Encoding]]] | None = None
        with ThreadPoolExecutor(max_workers=1) as pool:
            for first in range(0, len(conversations), _BATCH):
                with bounded():
                    rendered = [
                        self._rendered(conversation)
                        for conversation in conversations[first : first + _BATCH]
                    ]
                texts = [
                    rendering.text
                    for conversation in rendered
                    for rendering in conversation.renderings
                ]
                previous, waiting = (
                    waiting,
                    (rendered, pool.submit(self._encode, texts, add_special_tokens=False)),
                )
                if previous is not None:
                    yield from self._masked(previous[0], previous[1].result())
            if waiting is not None:
                yield from self._masked(waiting[0], waiting[1].result())

    def _rendered(self, conversation: Conversation) -> _Rendered:
        try:
            return _Rendered(conversation, self._masker.renderings(conversation, self._options))
        except MaskError as error:
            return _Rendered(conversation, [], error)

    def _masked(
        self, rendered: list[_Rendered], encodings: list[Encoding]
    ) -> Iterator[Sample | MaskError]:
        remaining = iter(encodings)
        for conversation in rendered:
            own_encodings = [next(remaining) for _ in conversation.renderings]
            if conversation.error is not None:
                yield conversation.error
                continue
            try:
                pairs = zip(conversation.renderings, own_encodings, strict=True)
                yield from [
                    sample
                    for rendering, encoding in pairs
                    for sample in self._of_rendering(conversation.conversation, rendering, encoding)
                ]
            except MaskError as error:
                yield error

    def _of_rendering(
        self, conversation: Conversation, rendering: Rendering, encoding: Encoding
    ) -> list[Sample]:
        """One sample, and one more for each turn that has to be split from its prompt."""
        input_ids: list[int] = encoding.ids
        if self._options.turns == "everything":
            self._check_size(conversation, input_ids, rendering)
            return [Sample(conversation, conversation.trained_turns(), input_ids, list(input_ids))]
        tokens = _Tokens(rendering.text, input_ids, self._bytes)
        if not tokens.exact:
            tokens.read_offsets(
                encoding
                if self._bytes is None
                else self._backend.encode(rendering.text, add_special_tokens=False)
            )
        spans, ranges, alone = [], [], []
        for span in rendering.spans:
            try:
                ranges.append(self._range(conversation, rendering, tokens, span))
                spans.append(span)
            except _Straddle:
                alone.append(self._split(conversation, rendering, span))
        if not spans:
            return alone
        return [*alone, self._sample(conversation, rendering, input_ids, spans, ranges)]

    def _sample(
        self,
        conversation: Conversation,
        rendering: Rendering,
        input_ids: list[int],
        spans: list[Span],
        ranges: list[tuple[int, int]],
    ) -> Sample:
        self._check_size(conversation, input_ids, rendering)
        labels = [UNTRAINED] * len(input_ids)
        for first, last in ranges:
            labels[first:last] = input_ids[first:last]
        turns = [span.turn for span in spans]
        values = [float(conversation.messages[turn].get("weight", 1)) for turn in turns]
        weights = None
        if any(value != 1 for value in values):
            weights = [0.0] * len(input_ids)
            for value, (first, last) in zip(values, ranges, strict=True):
                weights[first:last] = [value] * (last - first)
        texts = [text for turn, text in rendering.left_out if turn in turns]
        left_out = (
            sum(
                len(encoding.ids)
                for encoding in self._backend.encode_batch(texts, add_special_tokens=False)
            )
            if texts
            else 0
        )
        return Sample(conversation, turns, input_ids, labels, weights, rendering.warnings, left_out)

    def _range(
        self, conversation: Conversation, rendering: Rendering, tokens: _Tokens, span: Span
    ) -> tuple[int, int]:
        """The token range of one trained turn, verified."""
        first = tokens.starting_at(span.start)
        if first is None or not self._prompt_kept(tokens, first, span):
            raise _Straddle(span)
        last = tokens.ending_at(span.end)
        if last is None or last <= first:
            raise MaskError(
                "tokens_run_over",
                conversation,
                span.turn,
                "its stop token shares a token with what follows.",
                rendering.text,
            )
        self._check_stop(conversation, span, tokens.ids[first:last], rendering)
        if not tokens.exact and not self._decodes(
            tokens.ids, first, last, rendering.text[span.start : span.end]
        ):
            raise MaskError(
                "not_reversible",
                conversation,
                span.turn,
                "its tokens do not decode to its text.",
                rendering.text,
            )
        return first, last

    def _prompt_kept(self, tokens: _Tokens, first: int, span: Span) -> bool:
        """Whether the server makes the same tokens of the prompt alone.

        An added token cuts the text before anything else does: what stands left of the last one is
        the same either way, and only the tail after it needs a second look. Headers repeat, so most
        tails are looked up.
        """
        ids, added = tokens.ids, first - 1
        while added >= 0 and ids[added] not in self._added:
            added -= 1
        if added == first - 1:
            return True
        tail = tokens.text[tokens.end_of(added) if added >= 0 else 0 : span.start]
        key = (ids[added] if added >= 0 else -1, tail)
        expected = self._tails.get(key)
        if expected is None:
            literal = self._tokenizer.added_tokens_decoder[ids[added]].content if added >= 0 else ""
            expected = self._backend.encode(literal + tail, add_special_tokens=False).ids[
                1 if added >= 0 else 0 :
            ]
            if len(tail) < 200 and len(self._tails) < _TAILS:
                self._tails[key] = expected
        return ids[added + 1 : first] == expected

    def _split(self, conversation: Conversation, rendering: Rendering, span: Span) -> Sample:
        """A sample of one turn: its prompt's tokens as the server makes them, then those of its
        text alone."""
        prompt, trained = self._masker.alone(conversation, span.turn)
        before, after = self._backend.encode_batch([prompt, trained], add_special_tokens=False)
        input_ids, first = [*before.ids, *after.ids], len(before.ids)
        self._check_stop(conversation, span, after.ids, rendering)
        if not self._decodes(input_ids, first, len(input_ids), trained):
            raise MaskError(
                "not_reversible",
                conversation,
                span.turn,
                "its tokens do not decode to its text.",
                rendering.text,
            )
        return self._sample(conversation, rendering, input_ids, [span], [(first, len(input_ids))])

    def _check_stop(
        self, conversation: Conversation, span: Span, trained: list[int], rendering: Rendering
    ) -> None:
        if (
            not trained
            or trained[-1] not in self._stops
            or not self._stops.isdisjoint(trained[:-1])
        ):
            reason = "its trained tokens do not end with its only stop token."
            raise MaskError("stop_token", conversation, span.turn, reason, rendering.text)

    def _check_size(
        self, conversation: Conversation, input_ids: list[int], rendering: Rendering
    ) -> None:
        if self._size is not None and input_ids and max(input_ids) >= self._size:
            token = self._tokenizer.convert_ids_to_tokens(max(input_ids))
            reason = (
                f"the token {token!r} has the id {max(input_ids)}, but the model has vectors for"
                f" only {self._size} tokens."
            )
            raise MaskError("token_beyond_embedding", conversation, 0, reason, rendering.text)

    def _decodes(self, input_ids: list[int], first: int, last: int, text: str) -> bool:
        """In context: some tokenizers drop a space in front of the first token that they decode."""
        begin = max(0, first - 1)
        context = self._backend.decode(input_ids[begin:first], skip_special_tokens=False)
        return bool(
            self._backend.decode(input_ids[begin:last], skip_special_tokens=False) == context + text
        )


class _Tokens:
    """Where the tokens of a text lie. `exact`: their bytes, joined, are the text's, so that byte
    lengths say it; else offsets do."""

    def __init__(self, text: str, ids: list[int], pieces: list[bytes] | None) -> None:
        self.text = text
        self.ids = ids
        data = text.encode()
        # once more the first: one key alone gives no tuple
        token_bytes = itemgetter(*ids, ids[0])(pieces)[:-1] if pieces is not None else ()
        self.exact = b"".join(token_bytes) == data
        self._wide = len(data) != len(text)
        self._known = (0, 0)  # a character position and its byte position
        self._ends = list(accumulate(map(len, token_bytes)))

    def read_offsets(self, encoding: Encoding) -> None:
        self._starts = [start for start, _ in encoding.offsets]
        self._ends = [end for _, end in encoding.offsets]

    def starting_at(self, position: int) -> int | None:
        """The token that starts at a character; None if one lies across it."""
        if self.exact:
            end = self._ending(self._place(position))
            return None if end is None else end + 1
        first = bisect.bisect_left(self._starts, position)
        at_edge = (
            first < len(self.ids)
            and self._starts[first] == position
            and (first == 0 or self._ends[first - 1] <= position)
        )
        return first if at_edge else None

    def ending_at(self, position: int) -> int | None:
        """One past the token that ends at a character. A last token may take in whitespace that
        follows it (Phi's do)."""
        if self.exact:
            end = self._ending(self._place(position))
            return None if end is None else end + 1
        last = bisect.bisect_left(self._starts, position)
        return last if not self.text[position : self._ends[last - 1]].strip() else None

    def end_of(self, token: int) -> int:
        """The character after a token."""
        if not self.exact or not self._wide:
            return self._ends[token]
        return len(self.text.encode()[: self._ends[token]].decode())

    def _ending(self, position: int) -> int | None:
        token = bisect.bisect_left(self._ends, position)
        return token if token < len(self._ends) and self._ends[token] == position else None

    def _place(self, position: int) -> int:
        if not self._wide:
            return position
        known_until, byte_position = self._known
        if position < known_until:
            known_until = byte_position = 0
        byte_position += len(self.text[known_until:position].encode())
        self._known = (position, byte_position)
        return byte_position


def _token_bytes(tokenizer: PreTrainedTokenizerBase) -> list[bytes] | None:
    """The bytes of each token of a byte-level tokenizer, by number; None for the other kinds."""
    backend = tokenizer.backend_tokenizer
    if "ByteLevel(" not in str(backend.pre_tokenizer) or "ByteLevel(" not in str(backend.decoder):
        return None
    alphabet = str.maketrans(_byte_alphabet())
    vocabulary = backend.get_vocab(with_added_tokens=False)
    added = tokenizer.added_tokens_decoder
    pieces = [b""] * (1 + max(*vocabulary.values(), *added))
    for token, number in vocabulary.items():
        pieces[number] = token.translate(alphabet).encode("latin-1", "replace")
    for number, special in added.items():
        pieces[number] = special.content.encode()
    return pieces


def _byte_alphabet() -> dict[str, str]:
    """GPT-2's: the printable bytes stand for themselves, the others for characters from 256 on."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    return {
        chr(256 + number): chr(byte)
        for number, byte in enumerate(sorted(set(range(256)) - printable))
    }
