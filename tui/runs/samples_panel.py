"""What the model answered to the same prompts as it learned, so that progress can be read."""

from __future__ import annotations

from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content

from tui import key_bindings
from tui.key_bindings import key_of
from tui.shared.steady_text import SteadyText
from tui.shared.text_pane import TextPane
from tui.shared.word_diff import marked
from workshop.runs.record import Sample

Against = Literal["", "reference", "before"]
_NEXT: dict[Against, Against] = {"": "reference", "reference": "before", "before": ""}


_KEYS = (
    (("samples.earlier", "samples.later"), "step"),
    (("samples.prompt",), "prompt"),
    (("samples.compare",), "differences"),
)


class SamplesPanel(Vertical, inherit_bindings=False):
    """Give it the record's samples with `show`. It stays at the newest answers until another step
    is chosen."""

    BINDINGS: ClassVar[list[BindingType]] = key_bindings.bindings("samples")
    DEFAULT_CSS = """
    SamplesPanel {
        height: 1fr;
        #samples-head { height: 1; margin-bottom: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    }
    .-short SamplesPanel #samples-head { margin-bottom: 0; }
    """

    def __init__(self) -> None:
        super().__init__(id="samples")
        self._samples: dict[int, Sample] = {}
        self._prompt = 0
        self._step: int | None = None  # None: the newest
        self.against: Against = ""

    def compose(self) -> ComposeResult:
        yield SteadyText(id="samples-head")
        yield TextPane()
        yield SteadyText("", classes="empty")

    @property
    def sample(self) -> Sample | None:
        """The prompt that is shown, with its answers."""
        keys = sorted(self._samples)
        return self._samples[keys[self._prompt % len(keys)]] if keys else None

    @property
    def step(self) -> int | None:
        """The step whose answer is shown."""
        steps = sorted(self.sample.answers) if self.sample is not None else []
        if not steps:
            return None
        return (
            steps[-1]
            if self._step is None
            else min(steps, key=lambda step: abs(step - (self._step or 0)))
        )

    def show(self, samples: dict[int, Sample], alive: bool) -> None:
        self._samples = samples
        answered = self.step is not None
        empty = self.query_one(".empty", SteadyText)
        pane = self.query_one(TextPane)
        begins = answered and not pane.display
        empty.display, pane.display = not answered, answered
        if begins and self.display and self.screen.focused is None:
            pane.focus()
        self.query_one("#samples-head").display = answered
        if answered:
            self._redraw()
        else:
            when = "The first evaluation brings them." if alive else "No evaluation asked for any."
            empty.update(
                Content(
                    f"No sample answers yet.\n{when}" if alive else f"No sample answers.\n{when}"
                )
            )

    def _redraw(self) -> None:
        sample, step = self.sample, self.step
        if sample is None or step is None:
            return
        steps = sorted(sample.answers)
        index = steps.index(step)
        before = steps[index - 1] if index else None
        head = [
            Content.assemble(
                ("prompt ", "$foreground-muted"),
                f"{self._prompt % len(self._samples) + 1} of {len(self._samples)}",
            ),
            Content.assemble(
                ("step ", "$foreground-muted"),
                (f"{step:,}", "bold"),
                f"  {index + 1} of {len(steps)}",
            ),
        ]
        if self.against:
            reference_name = "the reference" if self.against == "reference" else "the answer before"
            head.append(
                Content.assemble("what differs from ", reference_name).stylize("$foreground-muted")
            )
        line = Content("   ").join(head)
        keys = Content.assemble(
            *(
                part
                for action_ids, text in _KEYS
                for part in (
                    (f"   {' '.join(map(key_of, action_ids))} ", "bold $primary"),
                    (text, "$foreground-muted"),
                )
            )
        )
        gap = self.size.width - line.cell_length - keys.cell_length
        self.query_one("#samples-head", SteadyText).update(
            Content.assemble(line, " " * gap, keys) if gap > 0 else line, layout=False
        )
        self.query_one(TextPane).show(*_columns(sample, step, before, self.against))

    # What the keys do

    def action_prompt(self, step: int) -> None:
        if self._samples:
            self._prompt = (self._prompt + step) % len(self._samples)
            self.query_one(TextPane).scroll_home(animate=False)
            self._redraw()

    def action_walk(self, direction: int) -> None:
        """To the answer of the evaluation before or after; the newest one stays the newest as more
        come."""
        if self.sample is None or self.step is None:
            return
        steps = sorted(self.sample.answers)
        index = min(len(steps) - 1, max(0, steps.index(self.step) + direction))
        self._step = None if index == len(steps) - 1 else steps[index]
        self._redraw()

    def action_compare(self) -> None:
        self.against = _NEXT[self.against]
        self._redraw()


def _columns(sample: Sample, step: int, before: int | None, against: Against) -> list[Content]:
    """Prompt and answer; beside them, or below, what they are compared with."""
    answer = sample.answers[step]
    if against == "before" and before is not None:
        title, other = f"answer at step {before:,}", sample.answers[before]
    elif against == "before":
        title, other = "answer before", ""
    else:
        title, other = "reference", sample.reference
    compared = bool(against and other)
    answer_content = (
        marked(answer, other, "underline $success") if compared else Content(answer or "(nothing)")
    )
    beside = marked(other, answer, "underline $warning") if compared else Content(other)
    left = Content("\n").join(
        [
            _label("prompt"),
            Content(sample.prompt),
            Content(""),
            _label(f"answer at step {step:,}"),
            answer_content,
        ]
    )
    if not other:
        return (
            [left]
            if against != "before"
            else [left, Content("\n").join([_label(title), _label("This is the first one.")])]
        )
    return [left, Content("\n").join([_label(title), beside])]


def _label(text: str) -> Content:
    return Content.styled(text, "$foreground-muted")
