"""All settings, with their words, what holds now and the default. A change is saved at once; what
cannot be used cannot be saved."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from textual import on
from textual.binding import BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import OptionList

from jobs.home import home
from jobs.luthier_error import LuthierError
from tui import key_bindings
from tui.settings.picker import SettingPicker
from tui.settings.table import SETTINGS, Choice, Setting, as_path
from tui.shared.action import Handler, Place
from tui.shared.row_table import Column, Row, RowTable
from tui.shared.screen import LuthierScreen, open_screens
from tui.shared.steady_text import SteadyText
from workshop import config
from workshop.config import Value
from workshop.job_list import JobRow

_MUTED = "$foreground-muted"
_COLUMNS = [
    Column("setting", weight=3),
    Column("value", weight=3),
    Column("default", 14),
    Column("in config.toml", 26, from_width=100),
    Column("what it does", weight=6, from_width=150),
]
_ENDPOINT = "endpoint "
"""What the ids of endpoints' rows begin with."""


class SettingsScreen(LuthierScreen):
    place: ClassVar[Place] = "settings"
    CSS_PATH = "settings.tcss"
    BINDINGS: ClassVar[list[BindingType]] = key_bindings.bindings("settings")
    AUTO_FOCUS = "#settings OptionList"

    def __init__(self) -> None:
        super().__init__()
        self._settings: dict[str, Any] = {}
        self._unreadable = ""
        self.handlers = {
            "change": Handler(self._change, lambda: self.setting is not None and self._can_save()),
            "next": Handler(self._turn, lambda: self.setting is not None and self._can_save()),
            "default": Handler(self._back_to_default, self._is_set),
            "add": Handler(self._add_endpoint, self._can_save),
            "remove": Handler(self._remove_endpoint, lambda: bool(self.endpoint)),
            "copy": Handler(self._copy),
        }

    def compose_body(self) -> Iterable[Widget]:
        yield SteadyText("", id="settings-problem")
        yield RowTable(_COLUMNS, "settings")
        yield SteadyText("", id="setting-words", classes="panel")

    # What is shown

    def jobs_changed(self, rows: list[JobRow]) -> None:
        self.show()

    def show(self) -> None:
        """Read the file, and show what it says."""
        self._settings, self._unreadable = config.read(), config.damage()
        problem = self.query_one("#settings-problem", SteadyText)
        problem.display = bool(self._unreadable)
        problem.update(
            Content.assemble(
                ("config.toml cannot be read. ", "bold $error"),
                f"{self._unreadable}. Repair {config_file()}; until then nothing is saved there,"
                " and the defaults hold.",
            )
        )
        rows: list[Row] = []
        for group in dict.fromkeys(setting.group for setting in SETTINGS):
            rows.append(self._heading(group))
            rows += [
                Row(setting.name, self._cells(setting))
                for setting in SETTINGS
                if setting.group == group
            ]
        table = self.query_one(RowTable)
        table.show([*rows, self._heading("Hosted endpoints"), *self._endpoint_rows()])
        if table.options.highlighted is None:
            table.highlight(SETTINGS[0].name)
        self._show_words()
        self.refresh_hints()

    def _heading(self, title: str) -> Row:
        """With air above it where there is room."""
        above = "\n" if self.has_class("-tall") else ""
        text = Content.assemble(above, (title, _MUTED))
        return Row(f"heading {title}", [text], heading=True)

    def _cells(self, setting: Setting) -> list[Content]:
        value = setting.value(self.app, self._settings)
        changed = value != setting.default
        stored = setting.stored(self._settings)
        cell = Content.styled(
            setting.word_of(self.app, value), "bold $primary" if changed else "$foreground"
        )
        if stored is not None and setting.problem(self.app, stored):
            cell = Content.assemble(("! ", "$warning"), cell, (f"  not {stored}", _MUTED))
        return [
            Content(f"  {setting.title}"),
            cell,
            Content.styled(setting.word_of(self.app, setting.default), _MUTED),
            Content.styled(setting.name, _MUTED),
            key_bindings.with_keys(setting.words).stylize_before(_MUTED),
        ]

    def _endpoint_rows(self) -> list[Row]:
        from models.endpoints import hosted_endpoints

        nothing = [Content("")] * 4
        try:
            endpoints = hosted_endpoints()
        except LuthierError as error:
            return [Row("no endpoints", [Content(f"  ! {error}"), *nothing])]
        if not endpoints:
            add = key_bindings.key_of("settings.add")
            return [
                Row("no endpoints", [Content.styled(f"  none: {add} adds one", _MUTED), *nothing])
            ]
        return [
            Row(
                _ENDPOINT + hosted.name,
                [
                    Content(f"  {hosted.name}"),
                    Content(hosted.url),
                    Content(""),
                    Content.styled(f"endpoints.{hosted.name}", _MUTED),
                    Content.styled(hosted.key_env or hosted.key_file or "no key", _MUTED),
                ],
            )
            for hosted in endpoints
        ]

    def _show_words(self) -> None:
        words, setting = self.query_one("#setting-words", SteadyText), self.setting
        if setting is None:
            text = "Servers that speak the OpenAI API: Chat and Compare can ask them, too."
            words.update(Content(text))
            return
        value = setting.value(self.app, self._settings)
        effects = (each.effect for each in setting.choices(self.app) if each.value == value)
        effect = next(effects, "")
        stored = setting.stored(self._settings)
        problem = "" if stored is None else setting.problem(self.app, stored)
        parts = [key_bindings.with_keys(setting.words)]
        if effect:
            word = setting.word_of(self.app, value)
            parts.append(Content.assemble((f"{word}: ", "bold"), (effect, _MUTED)))
        if problem:
            sentence = f"! config.toml has {stored!r} here. {problem} The default holds."
            parts.append(Content.styled(sentence, "$warning"))
        words.update(Content("\n").join(parts))

    @property
    def _highlighted(self) -> str:
        return self.query_one(RowTable).highlighted_id or ""

    @property
    def setting(self) -> Setting | None:
        """The one under the cursor."""
        return next((each for each in SETTINGS if each.name == self._highlighted), None)

    @property
    def endpoint(self) -> str:
        """The name of the endpoint under the cursor."""
        name = self._highlighted
        return name.removeprefix(_ENDPOINT) if name.startswith(_ENDPOINT) else ""

    @on(OptionList.OptionHighlighted)
    def highlight_moved(self) -> None:
        self._show_words()
        self.refresh_hints()

    @on(OptionList.OptionSelected)
    async def row_clicked(self) -> None:
        await self.run_action("do('change')")

    # What can be done

    def _can_save(self) -> bool:
        return not self._unreadable

    def _is_set(self) -> bool:
        setting = self.setting
        return (
            setting is not None and setting.stored(self._settings) is not None and self._can_save()
        )

    def _change(self) -> None:
        setting = self.setting
        if setting is None:
            return
        value = setting.value(self.app, self._settings)
        if setting.choose is not None:
            setting.choose(self.app)
        elif setting.kind == "switch":
            self._save(setting, not value)
        elif setting.kind == "choice":
            picker = SettingPicker(setting, setting.choices(self.app), value)
            self.app.push_screen(picker, lambda choice: self._take(setting, choice))
        else:
            self._ask_for_file(setting, value)

    def _ask_for_file(self, setting: Setting, value: Value) -> None:
        from tui.shared.path_modal import PathModal

        def write(path: Path) -> None:
            text = as_path(str(path))
            if problem := setting.problem(self.app, text):
                raise LuthierError(problem, str(path), "Give the path of the script.")
            self._save(setting, text)

        proposed = Path(str(value or Path.home() / f"llama.cpp/{setting.title}.py"))
        self.app.push_screen(PathModal(setting.title, proposed, setting.words, write))

    def _turn(self, step: int) -> None:
        """The next value, or the one before."""
        setting = self.setting
        if setting is None or setting.kind == "file":
            return
        value = setting.value(self.app, self._settings)
        if setting.kind == "switch":
            self._save(setting, not value)
            return
        values = [choice.value for choice in setting.choices(self.app)]
        index = values.index(value) if value in values else 0
        self._save(setting, values[(index + step) % len(values)])

    def _take(self, setting: Setting, choice: Choice | None) -> None:
        if choice is not None:
            self._save(setting, choice.value)

    def _back_to_default(self) -> None:
        if (setting := self.setting) is not None:
            self._save(setting, None)

    def _save(self, setting: Setting, value: Value) -> None:
        """`None` takes the setting out of the file, so that its default holds."""
        if value is not None and (problem := setting.problem(self.app, value)):
            raise LuthierError("Not saved", f"{setting.title}: {problem}", "Choose another value.")
        try:
            config.save_all({setting.name: value})
        except ValueError as error:
            hint = f"{error}. Repair {config_file()}, or delete it."
            raise LuthierError("Not saved", "config.toml is damaged.", hint) from error
        holds = setting.default if value is None else value
        if setting.act is not None:
            setting.act(self.app, holds)
        for screen in open_screens(self.app):
            screen.settings_changed()
        self.show()

    def _add_endpoint(self) -> None:
        from tui.chat.endpoint_form import EndpointForm

        self.app.push_screen(EndpointForm(), lambda name: self.show())

    def _remove_endpoint(self) -> None:
        from models import endpoints
        from tui.shared.confirm_modal import ConfirmModal

        name = self.endpoint

        def answered(yes: bool | None) -> None:
            if yes:
                endpoints.remove(name)
                self.show()

        question = ConfirmModal(
            f"Forget {name}?", "Its key stays where it is.", yes="forget", no="keep"
        )
        self.app.push_screen(question, answered)

    def _copy(self) -> None:
        self.app.copy_to_clipboard(str(config_file()))
        self.notify(f"Copied {config_file()}", markup=False)


def config_file() -> Path:
    return home() / "config.toml"
