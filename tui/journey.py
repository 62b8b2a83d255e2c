"""From one screen to the next that continues the work: from data to a run, from a run to its server
and its chat."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the first paint does not wait for jobs and recipes
    from jobs.job import Job
    from trainer.recipe_draft import RecipeDraft
    from tui.app import LuthierApp
    from workshop.chat.replay import Replay
    from workshop.job_list import JobRow


class Journey:
    """One for the app."""

    def __init__(self, app: LuthierApp) -> None:
        self._app = app

    async def open_started(self, job_id: str | None) -> None:
        """Open a run that a form has just started, if it has; the list may not have it yet."""
        if job_id is not None:
            from jobs.job import find
            from tui.new_run.screen import NewRunScreen

            if isinstance(self._app.screen, NewRunScreen):  # it has done its work
                await self._app.pop_screen()
            await self._app.action_show("runs")
            self._app.read_jobs()
            self._app.open_run(find(job_id))

    async def plan_run(self, source: str = "", model: str = "builtin") -> None:
        """Plan a new run: of this data or this recipe's file, if it is named."""
        from tui.new_run.screen import NewRunScreen

        await self._app.push_screen(NewRunScreen(source, model))

    async def plan_draft(self, draft: RecipeDraft) -> None:
        """Plan a new run of a recipe that was begun elsewhere."""
        from tui.new_run.screen import NewRunScreen

        await self._app.push_screen(NewRunScreen(draft=draft))

    async def plan_inspected(self, job: Job | None) -> None:
        """Plan a run of the data that this look shows, read in the same way."""
        from trainer.launch import frozen_recipe
        from trainer.recipe_draft import RecipeDraft

        if job is not None:
            await self.plan_draft(RecipeDraft.of_recipe(frozen_recipe(job)))

    async def open_inspection(self, job: Job) -> None:
        """Show a look at data: its progress, or what it found."""
        from tui.data.screen import DataScreen

        await self._app.action_show("data")
        if isinstance(self._app.screen, DataScreen):
            self._app.screen.open(job)

    async def open_listed(self, row: JobRow) -> None:
        """Show a job of the list where it belongs."""
        from jobs.state import Done
        from tui.shared.job_actions import open_guard
        from tui.shared.screen import LuthierScreen

        screen = self._app.screen
        if row.kind in ("server", "api"):
            await self.open_server()
        elif row.kind == "inspect":
            await self.open_inspection(row.job)
        elif row.kind == "guard" and isinstance(row.state, Done):
            if isinstance(screen, LuthierScreen):
                open_guard(screen, row.job)
        else:
            await self._app.action_show("runs")
            self._app.open_job(row.job)

    async def open_server(self) -> None:
        await self._app.action_show("serve")

    async def offer_server(self, run_id: str | None = None, base: str | None = None) -> None:
        """Go to Serve with the form for a new server, this run or this base chosen."""
        from tui.serve.screen import ServeScreen

        await self._app.action_show("serve")
        if isinstance(self._app.screen, ServeScreen):
            self._app.screen.offer(base=base, run_id=run_id)

    async def chat_with(
        self, run: Job, replay: Replay | None = None, against: Job | None = None
    ) -> None:
        """Talk to a run's tuned model, beside its base or the model of the run `against`: their
        server is started or found. Prompts to go through stand ready one by one."""
        from tui.chat.screen import ChatScreen

        await self._app.action_show("chat")
        if isinstance(self._app.screen, ChatScreen):
            self._app.screen.expect(run, against)
            if replay is not None:
                self._app.screen.replaying.begin(replay)

    async def chat_with_endpoint(self) -> None:
        """Choose among the models of the endpoints, to talk to one."""
        from tui.chat.screen import ChatScreen

        await self._app.action_show("chat")
        if isinstance(self._app.screen, ChatScreen):
            self._app.screen.speakers.look(self._app.screen.choose_speaker)
