"""What is done with a job from a screen: asked once where it costs something, done in the
background."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from jobs import job as jobs
from jobs import queue
from jobs.files import folder_bytes
from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.state import Queued, Starting, Stopping
from models import certificate, chapters
from models.chapters import Chapter
from models.events import Checkpoint, newest
from models.runs import Run
from models.standing import of_certificate, standing
from serve.certificate.launch import is_about
from tui.key_bindings import key_of
from tui.shared.confirm_modal import ConfirmModal
from tui.shared.messages import JobRemoved, JobsChanged
from tui.shared.screen import LuthierScreen
from workshop import number_format
from workshop.chapters import MAKERS, being_made

if TYPE_CHECKING:
    from tui.shared.certificate_modal import CertificateModal, NextStep
    from tui.shared.certificate_words import Proofs
    from tui.shared.shipped_form import ShippedForm
    from workshop.job_list import JobRow
    from workshop.regression.result import Result


def what_stays(job: Job) -> str:
    """What a stop does to a job and leaves of it, in a sentence or two."""
    if job.spec.kind == "server":
        return "Its models stay on disk. Whoever is talking to it is cut off."
    if job.spec.kind == "api":
        return "Runs that programs have started keep running. Uploads and chats are cut off."
    state, events = job.look()
    if isinstance(state, Queued):
        return f"It leaves the queue. {key_of('runs.resume')} queues it again."
    if job.spec.kind != "run":
        return "It can be started again."
    if isinstance(state, Starting) and newest(events, Checkpoint) is None:
        return f"It has not begun to train. {key_of('runs.resume')} starts it again."
    return (
        f"It saves a checkpoint first, for which it has {job.spec.grace_seconds:.0f} s."
        f" {key_of('runs.resume')} resumes from there, exactly."
    )


def confirm_stop(screen: LuthierScreen, job: Job) -> None:
    """Ask, then stop: with care the first time, at once the second."""
    state = job.state()
    again = isinstance(state, Stopping)

    def answered(yes: bool | None) -> None:
        if yes:
            jobs.stop(job, now=again)
            screen.app.read_jobs()

    name = job.spec.name
    if again:
        message = "It is stopping already. Whatever it has not saved is lost."
        question = ConfirmModal(f"Stop {name} at once?", message, yes="at once", no="wait")
    elif isinstance(state, Queued):
        question = ConfirmModal(
            f"Take {name} out of the queue?", what_stays(job), yes="take it out", no="let it wait"
        )
    else:
        question = ConfirmModal(f"Stop {name}?", what_stays(job), yes="stop it", no="let it run")
    screen.app.push_screen(question, answered)


def confirm_removal(screen: LuthierScreen, job: Job, name: str, *, waits: bool = False) -> None:
    """Ask, with the size and the path, then delete in the background."""

    def remove() -> JobRemoved:
        jobs.remove(job)
        return JobRemoved(name)

    def answered(yes: bool | None) -> None:
        if yes:
            screen.in_background(remove)

    first = "It leaves the queue. " if waits else ""
    message = (
        f"{job.directory}\n{number_format.size(folder_bytes(job.directory))}, with everything in"
        f" it. {first}It cannot be brought back."
    )
    screen.app.push_screen(
        ConfirmModal(f"Delete {name}?", message, yes="delete", no="keep"), answered
    )


def resume(screen: LuthierScreen, job: Job, force: bool = False) -> None:
    """Resume an interrupted run, or queue any other job again. If something that the run depends on
    has changed, say what, and offer to resume all the same."""

    def go_on() -> JobsChanged | LuthierError:
        from trainer.launch import resume as resume_run
        from trainer.resume import Changed

        if job.spec.kind != "run":
            jobs.start(job)
            return JobsChanged(f"{job.spec.name} waits for its turn.")
        try:
            resume_run(job, force=force)
        except Changed as refusal:
            return refusal
        return JobsChanged(f"{job.spec.name} continues.")

    def went_on(outcome: JobsChanged | LuthierError) -> None:
        if isinstance(outcome, LuthierError):
            _offer_force(screen, job, outcome)
        else:
            screen.post_message(outcome)

    screen.in_thread(go_on, went_on, group=f"resume-{job.id}", exclusive=True)


def _offer_force(screen: LuthierScreen, job: Job, refusal: LuthierError) -> None:
    def answered(yes: bool | None) -> None:
        if yes:
            resume(screen, job, force=True)

    message = (
        f"{refusal.message}\n\nIt can continue all the same, with the samples it has made; the"
        " run's record will say so."
    )
    screen.app.push_screen(
        ConfirmModal(refusal.title, message, yes="resume all the same", no="leave it"), answered
    )


def move(screen: LuthierScreen, job: Job, to: str) -> None:
    """Change the place of a waiting job in the queue."""

    def put() -> JobsChanged:
        queue.move(job, to)
        return JobsChanged()

    screen.in_background(put, group="queue")


def queue_again(screen: LuthierScreen) -> None:
    """Queue all that was waiting when the machine went down."""

    def start() -> JobsChanged:
        left = queue.left_waiting()
        queue.queue_again(left)
        return JobsChanged(
            f"{len(left)} job{'s wait' if len(left) != 1 else ' waits'} again, in the old order."
        )

    screen.in_background(start, group="queue")


def edit_recipe(screen: LuthierScreen, job: Job) -> None:
    """Open the recipe of a waiting run for editing."""
    from tui.runs.recipe_editor import RecipeEditor

    def edited(changed: bool | None) -> None:
        if changed:
            screen.notify(f"{job.spec.name} follows its new recipe.")
            screen.app.read_jobs()

    screen.app.push_screen(RecipeEditor(job), edited)


def show_certificate(screen: LuthierScreen, run: Job) -> None:
    """What was proved of a run's model; from there, have it proved or measured again."""

    def measure(step: NextStep) -> JobsChanged:
        maker = next((maker for maker in MAKERS if maker.kind == step.kind), None)
        if maker is not None and maker.start is not None:
            maker.start(Run(run), _made_before(step) or chapters.read(run.directory, maker.kind))
            return JobsChanged(f"{run.spec.name} is being measured. Runs shows how far it is.")
        from serve.certificate.launch import certify

        certify(Run(run))
        return JobsChanged(f"{run.spec.name} is being certified. Runs shows how far it is.")

    def answered(step: NextStep | None) -> None:
        from tui.shared.certificate_modal import CHAT

        if step is None:
            return
        if step.kind == CHAT:
            _chat(screen, run, step.chapter)
        elif step.kind == "shipped":
            certify_export(screen, run, _made_before(step))
        else:
            screen.in_background(lambda: measure(step))

    def read() -> CertificateModal:
        from tui.shared.certificate_modal import CertificateModal

        return CertificateModal(lambda: proofs_of(Run(run), screen.app.rows or []))

    screen.in_thread(read, lambda dialog: screen.app.push_screen(dialog, answered))


def _made_before(step: NextStep) -> Chapter | None:
    """The chapter on the chosen line, if it is of the kind that is to be measured."""
    return step.chapter if step.chapter and step.chapter.kind == step.kind else None


def _chat(screen: LuthierScreen, run: Job, chapter: Chapter | None) -> None:
    """Chat with a run's model beside its base; from a guard against another run, beside that
    one's."""

    def read() -> Job | None:
        from workshop.chat_with_run import check_side_by_side
        from workshop.regression.launch import order_behind

        if chapter is None or chapter.kind != "guard" or not chapter.subject:
            return None
        against = order_behind(Run(run), chapter).earlier
        check_side_by_side(Run(run), against)
        return None if against is None else against.job

    chat_with = screen.app.journey.chat_with
    screen.in_thread(read, lambda against: screen.app.call_later(chat_with, run, None, against))


def certify_export(screen: LuthierScreen, run: Job, again: Chapter | None = None) -> None:
    """Ask what is shipped of a run, and measure whether it is what was trained. `again` is the
    chapter to make again."""

    def started(job_id: str | None) -> None:
        if job_id is not None:
            screen.notify("The export is being certified. Runs shows how far it is.")
            screen.app.read_jobs()

    def read() -> ShippedForm:
        from tui.shared.shipped_form import ShippedForm

        return ShippedForm(run, screen.app.rows or [], again)

    screen.in_thread(read, lambda form: screen.app.push_screen(form, started))


def proofs_of(run: Run, job_rows: list[JobRow]) -> Proofs:
    """What its page shows, read from the run's folder."""
    from tui.shared.certificate_words import IDENTITY, Proofs

    directory = run.folder.path
    damage, written, further = "", None, []
    try:
        written = certificate.read(directory)
        further = chapters.read_all(directory)
    except LuthierError as error:
        damage = error.message
    busy: set[str] = {*being_made(job_rows, run)}
    if any(row.kind == "certify" and row.alive and is_about(row.job, run) for row in job_rows):
        busy.add(IDENTITY)
    return Proofs(
        run.name,
        written,
        standing(directory),
        further,
        frozenset(busy),
        damage,
        of_certificate(directory),
    )


def show_guard(screen: LuthierScreen, run: Job) -> None:
    """What a run's model won and lost against its base; where nothing was asked yet, offer to."""

    def read() -> Callable[[], object]:
        from workshop.regression.launch import newest_job, newest_result

        newest, latest = newest_job(Run(run)), newest_result(Run(run))
        if newest is not None and newest.alive():
            text = f"{newest.short_id} is asking both models: Runs shows how far it is."
            return lambda: screen.notify(text)
        if latest is not None:
            return _opens_report(screen, *latest)
        return lambda: _offer_guard(screen, Run(run))

    screen.in_thread(read, lambda show: show(), group="guard", exclusive=True)


def open_guard(screen: LuthierScreen, job: Job) -> None:
    """The result of a guard that is done."""

    def read() -> Callable[[], object]:
        from workshop.regression import result as results

        result = results.read(job.directory)
        if result is None:
            return lambda: screen.app.open_job(job)
        return _opens_report(screen, job, result)

    screen.in_thread(read, lambda show: show(), group="guard", exclusive=True)


def _opens_report(screen: LuthierScreen, job: Job, result: Result) -> Callable[[], object]:
    from tui.compare.report_screen import ReportScreen
    from workshop.regression.report import guarded, report_of

    report, about = report_of(result), guarded(job, result)
    return lambda: screen.app.push_screen(ReportScreen(job, report, about))


def _offer_guard(screen: LuthierScreen, run: Run) -> None:
    def answered(yes: bool | None) -> None:
        if yes:
            start_guard(screen, run)

    message = (
        "Asks the base and the tuned model the same small probes: instructions, arithmetic, facts,"
        " refusals, language, format, length, and the loss on plain text. Shows what was won and"
        " lost, item by item. On a CPU with the built-in model it takes one to three minutes, in a"
        " job of its own."
    )
    question = ConfirmModal(f"Guard {run.name}?", message, yes="ask", no="not now")
    screen.app.push_screen(question, answered)


def start_guard(screen: LuthierScreen, run: Run, again: Job | None = None) -> None:
    """Ask the probes in a job of its own, as the run's recipe says; or as a guard that is to be
    made `again` was asked."""

    def start() -> JobsChanged:
        from workshop.regression.launch import guard_run, order_for, order_of

        guard_run(order_for(run) if again is None else order_of(again))
        return JobsChanged(f"{run.name} is being guarded. Runs shows how far it is.")

    screen.in_background(start)
