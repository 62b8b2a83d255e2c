"""The screen of the server, and its form."""

from __future__ import annotations

import pytest
from textual.widgets import Input, Select, SelectionList

from jobs.job import Job, create
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from tests.tui import folders
from tests.tui.driving import ready, screen_text, text_of, until
from tests.tui.lock_holder import held
from tui.app import LuthierApp
from tui.serve.adapter_picker import AdapterPicker
from tui.serve.live_panel import LivePanel
from tui.serve.plan_modal import PlanModal
from tui.serve.screen import ServeScreen
from tui.serve.start_server import StartServerModal, Wanted
from tui.shared.confirm_modal import ConfirmModal
from tui.shared.error_modal import ErrorModal
from workshop.api.launch import Api
from workshop.api.plan import READY, ApiPlan
from workshop.served_runs import AdapterChoice


async def test_a_ready_server_shows_its_address_models_and_example(
    jobs_by_name: dict[str, Job],
) -> None:
    app = LuthierApp("serve")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        screen = app.screen
        assert isinstance(screen, ServeScreen)
        await until(pilot, lambda: screen.server is not None)
        facts = text_of(app, "#server-facts")
        assert "http://127.0.0.1:8712/v1" in facts and "/home/luthier/keys/client" in facts
        assert "● base" in facts and "○ captain" in facts and "tuned" in facts
        key = screen.key
        assert len(key) > 20 and key not in screen_text(app)
        assert '"model": "captain"' in text_of(
            app, "#snippet"
        ) and "$(cat /home/luthier/keys/client)" in text_of(app, "#snippet")
        await pilot.press("r")
        assert key in text_of(app, "#snippet")
        await pilot.press("c")
        assert key in app.clipboard
        await pilot.press("r", "p", "c")
        assert app.clipboard.startswith("from openai import OpenAI") and key not in app.clipboard
        compile(app.clipboard, "snippet", "exec")
        await pilot.press("p", "c")
        assert "api_base: http://127.0.0.1:8712/v1" in app.clipboard and app.clipboard.endswith(
            "llm -m captain -o temperature 0.7 'Hello!'"
        )
        await pilot.press("p")
        assert screen.language == "curl"


async def test_a_starting_server_shows_each_phase_with_its_time() -> None:
    job = folders.make_job("slow", 1, age=50, kind="server")
    folders.begin(job, 50)
    folders.write(
        job,
        folders.event("phase", 48, name="starting vLLM"),
        folders.event("phase", 20, name="loading the weights"),
    )
    app = LuthierApp("serve")
    with held(job):
        async with app.run_test(size=(80, 24)) as pilot:
            await ready(pilot)
            assert isinstance(app.screen, ServeScreen)
            await until(pilot, lambda: "loading the weights" in text_of(app, "#server-facts"))
            first, second = text_of(app, "#server-facts").splitlines()
            assert first.startswith("✓ starting vLLM") and first.endswith("28 s")
            assert second.startswith("◔ loading the weights") and second.endswith("20 s")


async def test_a_server_that_failed_says_why() -> None:
    job = folders.make_job("broken", 1, age=50, kind="server", log="ValueError: no room\n")
    folders.begin(job, 50)
    reason = {
        "title": "vLLM ended",
        "message": "ValueError: no room",
        "hint": "Give it more memory.",
    }
    folders.write(
        job,
        folders.event("error", 10, **reason),
        folders.event("exited", 9, code=1, stopped=False, swept=0),
    )
    app = LuthierApp("serve")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await until(pilot, lambda: "vLLM ended" in text_of(app, "#server-facts"))
        assert "Give it more memory." in text_of(
            app, "#server-facts"
        ) and "n starts another one" in text_of(app, "#server-facts")
        await pilot.press("e")
        assert isinstance(app.screen, ErrorModal)


async def test_the_form_marks_the_run_and_starts_the_server(
    jobs_by_name: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[object, ...]] = []

    def serve(wanted: Wanted) -> Job:
        asked.append((wanted.base, [run.id for run in wanted.runs], wanted.port, wanted.extra_args))
        return jobs_by_name["captain-server"]

    monkeypatch.setattr("tui.serve.start_server._serve", serve)
    app = LuthierApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await app.journey.offer_server(run_id=jobs_by_name["captain"].id)
        await until(pilot, lambda: isinstance(app.screen, StartServerModal))
        await pilot.pause()
        form = app.screen
        assert isinstance(form, StartServerModal)
        assert form.query_one(Select).value == "builtin" and form.query_one(
            SelectionList
        ).selected == [jobs_by_name["captain"].id]
        form.field("more").query_one(Input).value = "--max-num-seqs '8"
        await pilot.press("ctrl+s")
        assert "no closing quotation" in text_of(app, "#field-more .field-error") and asked == []
        form.field("more").query_one(Input).value = "--max-num-seqs '8'"
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.screen is not form)
        assert asked == [("builtin", [jobs_by_name["captain"].id], None, ["--max-num-seqs", "8"])]


async def test_the_form_says_what_is_wrong(
    jobs_by_name: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    def serve(wanted: Wanted) -> Job:
        raise LuthierError(
            "Port 80 is taken", "Another program listens there.", "Leave the port out."
        )

    monkeypatch.setattr("tui.serve.start_server._serve", serve)
    app = LuthierApp("serve")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, StartServerModal))
        await pilot.pause()
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "Port 80 is taken" in text_of(app, "#form-error"))
        assert isinstance(app.screen, StartServerModal)


async def test_stop_and_follow_work_at_80x24(jobs_by_name: dict[str, Job]) -> None:
    app = LuthierApp("serve")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("home", "f", "s")
        assert (
            isinstance(app.screen, ConfirmModal)
            and "Whoever is talking to it is cut off" in app.screen.message
        )
        await pilot.press("escape")
        assert isinstance(app.screen, ServeScreen) and jobs_by_name["captain-server"].alive()


async def test_without_a_server_the_next_key_is_named() -> None:
    app = LuthierApp("serve")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        assert "n starts one" in text_of(app, "#serve-nothing")
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, ErrorModal))
        assert isinstance(app.screen, ErrorModal) and app.screen.error.title == "No model is ready"


METRICS = """# HELP vllm:num_requests_running Requests
vllm:num_requests_running{engine="0",model_name="base"} 3.0
vllm:num_requests_waiting{engine="0",model_name="base"} 1.0
vllm:kv_cache_usage_perc{engine="0",model_name="base"} 0.25
vllm:prompt_tokens_total{engine="0",model_name="base"} %d
vllm:generation_tokens_total{engine="0",model_name="base"} %d
vllm:lora_requests_info{max_lora="4",running_lora_adapters="captain",waiting_lora_adapters=""} 1.0
"""


async def test_the_server_at_work_is_shown_once_a_second_and_only_then(
    jobs_by_name: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    async def metrics(endpoint: object, seconds: float) -> str:
        asked.append(len(asked))
        return METRICS % (1000 * len(asked), 100 * len(asked))

    times = iter(range(1000))
    monkeypatch.setattr("tui.serve.live_panel.metrics_text", metrics)
    monkeypatch.setattr("tui.serve.live_panel.monotonic", lambda: float(next(times)))
    app = LuthierApp("serve")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        panel = app.screen.query_one(LivePanel)
        await until(pilot, lambda: panel.display)
        await until(pilot, lambda: len(asked) >= 1)
        panel.ask()
        await until(pilot, lambda: "captain" in text_of(app, "LivePanel"))
        shown = text_of(app, "LivePanel").split()
        assert shown[:4] == ["running", "3", "waiting", "1"]
        assert shown[4:9] == ["tokens", "out", "100/s", "in", "1,000/s"] and "25" in shown
        await pilot.press("1")
        before = len(asked)
        panel.ask()
        await pilot.pause()
        assert len(asked) == before


async def test_the_form_shows_the_plan_and_copies_its_command_line(
    jobs_by_name: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    # the folders of these tests have no plan
    monkeypatch.setattr("serve.planning.living_servers", lambda: [])
    app = LuthierApp("serve")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await app.journey.offer_server(base="builtin")
        await until(pilot, lambda: isinstance(app.screen, StartServerModal))
        await pilot.pause()
        await pilot.press("ctrl+l")
        await until(pilot, lambda: isinstance(app.screen, PlanModal))
        assert "room for adapters up to rank 16 later" in text_of(
            app, "PlanModal VerticalScroll Static"
        )
        await pilot.press("c")
        assert "--middleware serve.guard.Guard" in app.clipboard
        await pilot.press("escape")
        assert isinstance(app.screen, StartServerModal)


async def test_adapters_are_loaded_unloaded_and_pinned_from_the_screen(
    jobs_by_name: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, str]] = []
    for name in ("attach", "detach", "pin"):
        monkeypatch.setattr(
            f"serve.launch.{name}",
            lambda server, adapter, path=None, did=name: done.append((did, adapter)),
        )
    choice = AdapterChoice("pirate@120", "checkpoint", jobs_by_name["pirate"].directory)
    monkeypatch.setattr("tui.serve.adapters._loadable", lambda server: [choice])
    app = LuthierApp("serve")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        screen = app.screen
        assert isinstance(screen, ServeScreen)
        await until(pilot, lambda: screen.server is not None)
        for count, (key, did) in enumerate(
            (
                ("l", ("attach", "pirate@120")),
                ("u", ("detach", "captain")),
                ("P", ("pin", "captain")),
            )
        ):
            await pilot.press(key)
            await until(pilot, lambda: isinstance(app.screen, AdapterPicker))
            await pilot.pause()
            await pilot.press("enter")
            await until(pilot, lambda: len(done) == count + 1)  # noqa: B023 - waited for here
            assert done[-1] == did


async def test_the_line_of_the_api_starts_and_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = ApiPlan("127.0.0.1", 8123)
    started: list[Job] = []

    def start_api() -> Api:
        job = create(Spec("api", "api", "none", plan.to_json(), ready_phase=READY))
        folders.begin(job, 5)
        folders.write(job, folders.event("phase", 4, name=READY))
        started.append(job)
        return Api(job, plan)

    monkeypatch.setattr("workshop.api.launch.start_api", start_api)
    app = LuthierApp("serve")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        assert text_of(app, "#api-line").startswith("API        off   A starts it")
        await pilot.press("A")
        await until(pilot, lambda: bool(started))
        with held(started[0]):
            app.read_jobs()
            await until(pilot, lambda: "http://127.0.0.1:8123/v1" in text_of(app, "#api-line"))
            assert text_of(app, "#api-line").endswith("A stops it")
            await pilot.press("A")
            await until(pilot, lambda: isinstance(app.screen, ConfirmModal))
            assert "Runs that programs have started keep running" in screen_text(app)
