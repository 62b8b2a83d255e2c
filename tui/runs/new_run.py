"""The form for a new run: a recipe file; or a model and its data with the few values that matter,
from a known recipe if one is named."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.suggester import SuggestFromList
from textual.widgets import Input

from jobs.files import expanded
from models.runs import Run
from tui.shared.form import Field, FormModal, JobStarted
from tui.shared.key_line import KeyHint

if TYPE_CHECKING:
    from trainer.plan.plan import Plan
    from trainer.presets import Preset
    from trainer.recipe import Recipe
    from trainer.sweep import Sweep

_BUILTIN = "builtin"


class NewRunModal(FormModal):
    """^o shows the plan, from where the run can be started as well."""

    heading: ClassVar[str] = "New run"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+o", "plan", priority=True)]
    hints: ClassVar[list[KeyHint]] = [
        KeyHint("tab", "tab", "next field"),
        KeyHint("ctrl+o", "^o", "plan"),
        KeyHint("enter", "enter", "start"),
    ]

    def __init__(self, model: str = _BUILTIN) -> None:
        from trainer.presets import presets

        super().__init__()
        self.model = model
        self._presets = {preset.name: preset for preset in presets()}

    def compose_fields(self) -> ComposeResult:
        yield Field(
            "recipe", "recipe", placeholder="recipe.toml, or a known one such as llama-3-8b-alpaca"
        )
        yield Field("model", "model", value=self.model)
        yield Field("data", "data", placeholder="conversations.jsonl")
        yield Field("name", "name", placeholder="the data file's name")
        yield Field("epochs", "epochs", value="3")
        yield Field("rate", "learning rate", value="auto")
        yield Field("r", "LoRA rank", value="16")

    def on_mount(self) -> None:
        self.field("recipe").query_one(Input).suggester = SuggestFromList(self._presets)

    @property
    def preset(self) -> Preset | None:
        """The known recipe that is named."""
        return self._presets.get(self.field("recipe").value)

    @on(Input.Changed, "#field-recipe Input")
    def recipe_changed(self, event: Input.Changed) -> None:
        """A file says all the rest; a known recipe fills it in, and leaves it open."""
        from trainer.recipe import short_value

        preset = self.preset
        for field in self.query(Field):
            field.disabled = field.key != "recipe" and bool(event.value.strip()) and preset is None
        if preset is None:
            return
        values = preset.values()
        filled = {
            "epochs": f"{values['train']['epochs']:g}",
            "rate": short_value(values["train"].get("learning_rate", "auto")),
            "r": str(values["lora"]["r"]),
        }
        if self.model == _BUILTIN:
            filled["model"] = values["model"]
        for key, value in filled.items():
            self.field(key).query_one(Input).value = value

    def submit(self) -> None:
        entered = self._entered()
        if entered is not None:
            self._start(*entered)

    def action_plan(self) -> None:
        """Work the plan out and show it."""
        self.clear_errors()
        entered = self._entered()
        if entered is None:
            return

        def plan() -> None:
            from trainer.plan.plan import make_plan
            from trainer.sweep import Sweep, recipes_of

            asked = _asked(*entered)
            recipes = recipes_of(asked)
            of_sweep = f"the first of {len(recipes)} runs" if isinstance(asked, Sweep) else ""
            run_plan = make_plan(recipes[0])
            self.app.call_from_thread(self._show_plan, recipes[0], run_plan, of_sweep)

        self._say_reading()
        self.run_worker(plan, thread=True, exclusive=True, group="start", exit_on_error=False)

    def _show_plan(self, recipe: Recipe, run_plan: Plan, of_sweep: str) -> None:
        from tui.runs.plan_modal import RunPlanModal

        def answered(start: bool | None) -> None:
            if start:
                self.action_submit()

        self.show_problem(Content(""))
        self.app.push_screen(RunPlanModal(recipe, run_plan, of_sweep), answered)

    def _entered(self) -> tuple[dict[str, object] | None, Path | None] | None:
        """The values of the fields, or the recipe's file; None with errors beside the fields."""
        if not self.field("recipe").value or self.preset is not None:
            values = self._values()
            return None if values is None else (values, None)
        path = expanded(self.field("recipe").value)
        if path.is_file():
            return None, path
        self.field("recipe").show_error("no such file, and no known recipe")
        return None

    def _say_reading(self) -> None:
        self.show_problem(
            Content.styled("Reading the data and planning the run.", "$foreground-muted")
        )

    def _values(self) -> dict[str, object] | None:
        """The fields as a recipe's text would have them, or None with errors beside the fields."""
        data = expanded(self.field("data").value).absolute()
        if not self.field("data").value or not data.is_file():
            self.field("data").show_error(
                "no such file" if self.field("data").value else "needed: JSON Lines with messages"
            )
        if not self.field("model").value:
            self.field("model").show_error("needed: a name or a folder")
        epochs = self.number_in("epochs", least=0.01)
        rate: str | float | None = "auto"
        if self.field("rate").value.strip() != "auto":
            rate = self.number_in("rate", least=1e-9)
        rank = self.number_in("r", least=1, integer=True)
        if self.query(".field.-wrong") or epochs is None or rate is None or rank is None:
            return None
        preset = {} if self.preset is None else self.preset.values()
        return {
            **preset,
            "name": self.field("name").value or data.stem,
            "model": self.field("model").value,
            "data": [str(data)],
            "train": {**preset.get("train", {}), "epochs": epochs, "learning_rate": rate},
            "lora": {"alpha": 2 * rank, **preset.get("lora", {}), "r": rank},
        }

    def _start(self, values: dict[str, object] | None, path: Path | None) -> None:
        def start() -> None:
            from trainer.launch import train
            from trainer.sweep import Sweep, start_sweep

            asked = _asked(values, path)
            if not isinstance(asked, Sweep):
                run = train(asked)
                for warning in Run(run).warnings:
                    self.app.call_from_thread(
                        self.app.notify, warning, severity="warning", timeout=20, markup=False
                    )
                self.post_message(JobStarted(run.id))
                return
            _, started = start_sweep(asked)
            self.app.call_from_thread(
                self.app.notify,
                f"{len(started)} runs are queued. The first one is shown.",
                title=f"Sweep {asked.name}",
            )
            self.post_message(JobStarted(started[0].id))

        self._say_reading()
        self.run_worker(start, thread=True, exclusive=True, group="start", exit_on_error=False)


def _asked(values: dict[str, object] | None, path: Path | None) -> Recipe | Sweep:
    """What the fields or the recipe's file ask for; the fields go through the recipe's own strict
    decoder, so that the form and a file are judged alike."""
    import tomlkit

    from trainer.recipe import parse
    from trainer.sweep import load_runs

    return parse(tomlkit.dumps(values or {}), "the form") if path is None else load_runs(path)
