"""What a first minute can begin with: the data files near here, and below them what needs none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textual.content import Content
from textual.events import Resize
from textual.fuzzy import Matcher
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from jobs.files import expanded
from tui.shared.glyphs import glyphs

if TYPE_CHECKING:
    from workshop.data_files import FileLook

DEMO, ENDPOINT = "demo", "endpoint"
_OFFERS = {
    DEMO: (
        "Try the demo",
        "trains the built-in model on sample data, 4 minutes",
    ),
    ENDPOINT: ("Connect an endpoint", "chat with a server that you have"),
}
_FIGURES = 36  # cells of rows and format
_LEAST = 8


class StartList(OptionList):
    """The screen moves its cursor: the text above it keeps the focus."""

    can_focus = False

    def __init__(self, folder: Path) -> None:
        super().__init__(id="home-list", compact=True)
        self._folder = folder
        self._files: list[Path] | None = None
        self._looks: dict[Path, FileLook] = {}
        self._text = ""
        self._moved = False

    def on_mount(self) -> None:
        self._show()

    def on_resize(self, event: Resize) -> None:
        self._show()

    def set_files(self, paths: Sequence[Path]) -> None:
        self._files = list(paths)
        self._show()

    def set_look(self, path: Path, look: FileLook) -> None:
        """Only this line is drawn again, unless the file moves below those that can be trained
        on."""
        self._looks[path] = look
        if look.problem:
            self._show()
            return
        for index, option in enumerate(self.options):
            if option.id == str(path):
                self.replace_option_prompt_at_index(index, self._file_line(path))

    def narrow(self, text: str) -> None:
        if text != self._text:
            self._text, self._moved = text, False
            self._show()

    @property
    def highlighted_id(self) -> str:
        option = self.highlighted_option
        return (option.id or "") if option is not None else ""

    def move(self, step: int) -> None:
        """To the next line that can be chosen, in this direction."""
        self._moved = True
        places = [index for index, option in enumerate(self.options) if not option.disabled]
        if not places:
            return
        current = self.highlighted if self.highlighted in places else places[0]
        position = places.index(current) + step
        self.highlighted = places[max(0, min(len(places) - 1, position))]

    def _show(self) -> None:
        before = self.highlighted_id
        files = self._matching()
        options = [Option(self._file_line(path), id=str(path)) for path in files]
        if not files:
            options.append(Option(self._no_files(), disabled=True))
        options.append(Option(Content(""), disabled=True))
        options += [Option(self._offer_line(name), id=name) for name in _OFFERS]
        self.set_options(options)
        ids = [option.id for option in options]
        first = 0 if files else ids.index(DEMO)
        # what is typed and matches nothing does not start the demo
        if self._text and not files:
            self.highlighted = None
        else:
            self.highlighted = ids.index(before) if self._moved and before in ids else first

    def _matching(self) -> list[Path]:
        """Those whose path has the typed letters in their order, the best first; below them what
        cannot be trained on as it is."""
        files = self._files or []
        if self._text:
            matcher = Matcher(self._sought())
            scores = {path: matcher.match(self._relative(path)) for path in files}
            files = sorted((path for path in files if scores[path]), key=lambda path: -scores[path])
        return sorted(files, key=self._has_problem)

    def _sought(self) -> str:
        """What is typed, as the list writes its paths: "./mine" is "mine" there."""
        path = expanded(self._text)
        return str(path.relative_to(self._folder) if path.is_relative_to(self._folder) else path)

    def _has_problem(self, path: Path) -> bool:
        look = self._looks.get(path)
        return look is not None and bool(look.problem)

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self._folder))

    def _no_files(self) -> Content:
        if self._files is None:
            text = "Looking for data files."
        elif self._text and self._files:
            text = "No data file in or below this folder matches. A path works too."
        else:
            text = f"No data file in or below {self._folder}. Give a path."
        return Content.styled(text, "$foreground-muted")

    def _file_line(self, path: Path) -> Content:
        width = max(_LEAST, self.size.width - 3)
        room = max(_LEAST, width - _FIGURES - 2)
        look = self._looks.get(path)
        if look is None:
            figures = Content.styled(glyphs().ellipsis, "$foreground-muted")
        elif look.problem:
            figures = Content.styled(look.problem.lower(), "$foreground-muted")
        else:
            about = "" if look.exact else "about "
            rows = "1 row" if look.rows == 1 else f"{about}{look.rows:,} rows"
            figures = Content.assemble(f"{rows:<15} ", (look.format_name, "$foreground-muted"))
        name = Content(self._relative(path))
        if name.cell_length > room:  # the end of a path says more
            name = Content(glyphs().ellipsis + name.plain[-(room - 1) :])
        return Content.assemble(
            name.pad_right(room - name.cell_length), "  ", figures.truncate(_FIGURES, ellipsis=True)
        )

    def _offer_line(self, name: str) -> Content:
        title, about = _OFFERS[name]
        line = Content.assemble(f"{title:<22}", (about, "$foreground-muted"))
        return line.truncate(max(_LEAST, self.size.width - 3), ellipsis=True)
