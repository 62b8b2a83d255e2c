"""The forms that bring a model here and give one away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Label, Select

from jobs.files import expanded
from tui.shared.form import Field, FormModal, JobStarted
from tui.shared.key_line import KeyHint

if TYPE_CHECKING:
    from jobs.job import Job

_HINTS = [
    KeyHint("tab", "tab", "next field"),
    KeyHint("space", "space", "choose"),
    KeyHint("enter", "enter", "start"),
]


class ModelForm(FormModal):
    hints: ClassVar[list[KeyHint]] = _HINTS

    def begin(self, start: Callable[[], Job | None], saying: str) -> None:
        """Start the job in the background; errors come back into the form."""

        def work() -> None:
            job = start()
            self.post_message(JobStarted("" if job is None else job.id))

        self.show_problem(Content.styled(saying, "$foreground-muted"))
        self.run_worker(work, thread=True, exclusive=True, group="start", exit_on_error=False)


class ImportModal(ModelForm):
    """Dismissed with the job's id, or "" where a link was made and there is no job. `source` and
    `name` are filled in beforehand."""

    heading: ClassVar[str] = "Import a model"

    def __init__(self, source: str = "", name: str = "") -> None:
        super().__init__()
        self.source, self.name_asked = source, name

    def compose_fields(self) -> ComposeResult:
        yield Field(
            "source",
            "from",
            value=self.source,
            placeholder="a folder, a GGUF file, or hub:owner/name[@revision]",
        )
        yield Field("name", "name", value=self.name_asked, placeholder="after its source")
        with Horizontal(classes="field"):
            yield Label("a folder is")
            yield Select(
                [("copied", False), ("linked to, nothing is copied", True)],
                value=False,
                allow_blank=False,
                compact=True,
            )

    def submit(self) -> None:
        source, name = self.field("source").value, self.field("name").value or None
        if not source:
            self.field("source").show_error("needed")
            return
        linked = self.query_one(Select).value is True

        def start() -> Job | None:
            from models.imports.launch import link, start_import

            if linked:
                link(source, name)
                return None
            return start_import(source, name)

        self.begin(start, "Looking at it.")


class ExportModal(ModelForm):
    heading: ClassVar[str] = "Export a model"

    def __init__(self, name: str, title: str) -> None:
        super().__init__()
        self.model, self.title_of_model = name, title

    def compose_fields(self) -> ComposeResult:
        yield Field(
            "out",
            "folder",
            value=str(Path.cwd() / self.title_of_model),
            placeholder="the folder to write",
        )
        with Horizontal(classes="field"):
            yield Label("as")
            kinds = [
                ("safetensors with a model card", ""),
                *((f"GGUF, {kind}", f"gguf:{kind}") for kind in ("bf16", "q8_0", "q4_0", "q4_k_m")),
                *((f"{kind.upper()} for vLLM", kind) for kind in ("fp8", "int8", "awq")),
            ]
            yield Select(kinds, value="", allow_blank=False, compact=True)

    def submit(self) -> None:
        out = self.field("out").value
        if not out:
            self.field("out").show_error("needed")
            return
        kind = str(self.query_one(Select).value)

        def start() -> Job:
            from models.export.formats import form_named
            from models.export.launch import start_conversion, start_export

            path = expanded(out).absolute()
            if not kind:
                return start_export(self.model, path)
            form = form_named(kind)
            if form.family == "gguf":
                path = path.with_suffix(".gguf")
            return start_conversion(self.model, path, form)

        self.begin(start, "Reading the model.")


class PushModal(ModelForm):
    heading: ClassVar[str] = "Push to the hub"

    def __init__(
        self, name: str, title: str, warning: Content | None = None, leak: str = ""
    ) -> None:
        """`leak` is what must be known before everybody may see it."""
        super().__init__()
        self.model, self.title_of_model, self.warning, self.leak = name, title, warning, leak

    def compose_fields(self) -> ComposeResult:
        if self.warning is not None:
            yield Label(self.warning)
        yield Field("repository", "repository", placeholder=f"owner/{self.title_of_model}")
        with Horizontal(classes="field"):
            yield Label("seen by")
            yield Select(
                [("its owner alone", True), ("everybody", False)],
                value=True,
                allow_blank=False,
                compact=True,
            )
        leak = Label(Content.styled(self.leak, "$warning"), id="leak")
        leak.display = False
        yield leak
        yield Field("branch", "branch", placeholder="main")

    @on(Select.Changed)
    def _warn_of_leak(self) -> None:
        is_public = self.query_one(Select).value is False
        self.query_one("#leak").display = is_public and bool(self.leak)

    def submit(self) -> None:
        repository = self.field("repository").value
        if not repository:
            self.field("repository").show_error("needed: owner/name")
            return
        private, branch = self.query_one(Select).value is True, self.field("branch").value

        def start() -> Job:
            from models.export.launch import start_push

            return start_push(self.model, repository, private=private, branch=branch)

        self.begin(start, "Reading the model.")
