"""`luthier compare` against the real vLLM: two adapters, a real judge in both orders, and the three
reports."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from jobs.job import Job, create
from jobs.spec import Spec
from serve.launch import detach
from serve.servers import Server
from tests.real.random_adapter import write_random_adapter

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

QUESTIONS = ("What is the capital of France?", "How many legs has a cat?")
ANSWERS = ("The capital of France is Paris.", "Four.")


@pytest.fixture
def runs(server: Server, builtin_model: Path) -> Iterator[list[Job]]:
    """Two runs that have left an adapter each. They are taken out of the session's server again."""
    made = []
    for name, seed in (("mild", 4), ("wild", 5)):
        run = create(
            Spec(
                "run",
                name,
                "trainer.worker",
                settings={"model": "builtin", "model_directory": str(builtin_model)},
            )
        )
        write_random_adapter(run.directory / "adapter", builtin_model, rank=2, seed=seed)
        made.append(run)
    yield made
    for model in server.refreshed().models:
        if model.run in [run.id for run in made]:
            detach(server, model.id)


def compare(folder: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    """What the command printed, and what it said meanwhile."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "tui.cli",
        "compare",
        *arguments,
        "--out",
        str(folder),
        "--json",
    ]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout), answer.stderr


def test_two_adapters_a_judge_and_three_reports(
    server: Server, runs: list[Job], tmp_path: Path
) -> None:
    rows = [
        [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
        for asked, said in zip(QUESTIONS, ANSWERS, strict=True)
    ]
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    judge = ("--judge", f"base@{server.base_url}/v1", "--judge-tokens", "24")
    ordered = ("mild", "wild", "--prompts", str(prompts), "--max-tokens", "12", *judge)
    found, said = compare(tmp_path / "out", *ordered)
    assert {
        name: (about["answered"], about["failed"]) for name, about in found["models"].items()
    } == {
        "base": (2, 0),
        "mild": (2, 0),
        "wild": (2, 0),
    }
    # random weights say nothing of Paris
    assert found["metrics"]["chrF"]["base"]["mean"] > found["metrics"]["chrF"]["wild"]["mean"]
    check_judge(found["judge"], tmp_path / "out")
    check_reports(found, tmp_path / "out")
    assert "Judging 8 times" in said
    assert server.job.alive()


def check_judge(judge: dict[str, Any], folder: Path) -> None:
    """Every pair of answers was judged in both orders, by a model that is held to a verdict."""
    verdicts = [json.loads(line) for line in (folder / "judgements.jsonl").read_text().splitlines()]
    assert [verdict["error"] for verdict in verdicts] == [None] * 8
    assert sorted(verdict["turned"] for verdict in verdicts) == [False] * 4 + [True] * 4
    assert all(verdict["verdict"] in ("A", "B", "tie") for verdict in verdicts)
    assert (judge["pairs"], judge["left_out"]) == (4, {})
    assert judge["for_first"] == sum(verdict["verdict"] == "A" for verdict in verdicts)
    assert sum(duel["wins"] + duel["losses"] for duel in judge["duels"]) <= judge["agreed"] <= 4
    assert {(duel["model"], duel["other"]) for duel in judge["duels"]} == {
        ("mild", "base"),
        ("wild", "base"),
    }


def check_reports(found: dict[str, Any], folder: Path) -> None:
    """Three reports of one content; the page as a browser has read it."""
    told = json.loads((folder / "report.json").read_text())
    assert told["models"] == found["models"] and [row["reference"] for row in told["rows"]] == list(
        ANSWERS
    )
    answers = [answer["text"] for row in told["rows"] for answer in row["answers"].values()]
    text = (folder / "report.md").read_text()
    assert text.startswith("# mild and wild beside base\n")
    assert all(answer in text for answer in answers) and "verdicts agreed" in text
    chromium = shutil.which("chromium")
    if chromium is None:
        return
    page = [
        chromium,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder / 'browser'}",
        "--dump-dom",
    ]
    dom = subprocess.run(
        [*page, (folder / "report.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    ).stdout
    seen = Page()
    seen.feed(dom)
    assert seen.titles == [
        "mild and wild beside base",
        "In short",
        "Why mild differs",
        "Why wild differs",
        "Answers",
        "Against the references",
        "The judge",
        "How it was seen",
        "Every answer",
    ]
    assert [said.strip() for said in seen.answers] == [
        said.strip()
        for row in told["rows"]
        for said in [*(answer["text"] for answer in row["answers"].values()), row["reference"]]
    ]


class Page(HTMLParser):
    """The headings of a report, and the answers of its last part, as its reader sees them."""

    def __init__(self) -> None:
        super().__init__()
        self.titles: list[str] = []
        self.answers: list[str] = []
        self._inside = ""
        self._article = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        self._article = self._article or tag == "article"
        if tag in ("h1", "h2"):
            self.titles.append("")
            self.answers = []
        if tag == "div" and self._article:
            self.answers.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""
        self._article = self._article and tag != "article"

    def handle_data(self, data: str) -> None:
        if self._inside in ("h1", "h2"):
            self.titles[-1] += data
        elif self._inside == "div" and self._article:
            self.answers[-1] += data
