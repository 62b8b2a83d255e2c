"""`luthier chart` and the files that charts are written to."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from jobs.job import Job
from jobs.luthier_error import LuthierError
from tests.tui import folders
from tests.tui.run_events import eventful
from tui.cli import luthier

SVG = "{http://www.w3.org/2000/svg}"


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(luthier, ["chart", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def told(job: Job) -> list[dict[str, float]]:
    return [
        event
        for event in map(json.loads, job.events_path.read_text().splitlines())
        if event["kind"] == "step"
    ]


def test_csv_has_every_value_exactly(jobs_by_name: dict[str, Job], tmp_path: Path) -> None:
    run("pirate", "captain", "--out", str(tmp_path / "all.csv"))
    rows = list(csv.DictReader((tmp_path / "all.csv").open()))
    for name in ("pirate", "captain"):
        mine = [row for row in rows if row["run"] == jobs_by_name[name].id]
        steps = told(jobs_by_name[name])
        assert [int(row["step"]) for row in mine] == [step["step"] for step in steps]
        for key in ("loss", "learning_rate", "grad_norm", "epoch"):
            assert [float(row[key]) for row in mine] == [step[key] for step in steps]
        assert [row["step"] for row in mine if row["eval_loss"]] == [
            str(step) for step in range(50, len(steps) + 1, 50)
        ]


def test_csv_has_task_metrics_and_steps_that_only_an_evaluation_told(
    home: Path, tmp_path: Path
) -> None:
    job = folders.make_job("scored", 1, age=9)
    folders.begin(job, 9)
    folders.write(
        job,
        folders.event("step", 5, step=1, total=9, loss=1.5),
        folders.event("step", 4, step=2, total=9, loss="nan"),
    )
    folders.write(job, folders.event("eval", 3, step=3, loss=1.25, metrics={"exact_match": 0.5}))
    run("scored", "--out", str(tmp_path / "scored.csv"))
    rows = list(csv.DictReader((tmp_path / "scored.csv").open()))
    assert [
        (row["step"], row["loss"], row["eval_loss"], row["eval.exact_match"]) for row in rows
    ] == [
        ("1", "1.5", "", ""),
        ("2", "", "", ""),
        ("3", "", "1.25", "0.5"),
    ]


def test_svg_is_sound_and_says_what_it_shows(jobs_by_name: dict[str, Job], tmp_path: Path) -> None:
    eventful(jobs_by_name["pirate"])
    run("pirate", "--out", str(tmp_path / "loss.svg"), "--smooth", "50")
    root = ElementTree.parse(tmp_path / "loss.svg").getroot()
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert {"loss", "step", "pirate", "evaluations", "repair", "resumed"} <= set(texts)
    assert root.findtext(f"{SVG}title") == "loss by step: pirate, evaluations"
    longest = max((line.get("points", "") for line in root.iter(f"{SVG}polyline")), key=len)
    places = [tuple(map(float, point.split(","))) for point in longest.split()]
    assert (
        len(places) == 340 and places == sorted(places) and len(list(root.iter(f"{SVG}circle"))) > 5
    )


def test_names_are_escaped(home: Path, tmp_path: Path) -> None:
    job = folders.make_job("odd", 1, age=9)
    spec = json.loads((job.directory / "spec.json").read_text()) | {"name": "<a & b>"}
    (job.directory / "spec.json").write_text(json.dumps(spec))
    folders.begin(job, 9)
    folders.steps(job, 10, 10, ago=8)
    run(job.id, "--out", str(tmp_path / "odd.svg"))
    assert "<a & b>" in [
        element.text for element in ElementTree.parse(tmp_path / "odd.svg").iter(f"{SVG}text")
    ]


def test_png_is_a_picture_with_colours(jobs_by_name: dict[str, Job], tmp_path: Path) -> None:
    run(
        "pirate",
        "captain",
        "--out",
        str(tmp_path / "two.png"),
        "--metric",
        "loss",
        "--metric",
        "learning_rate",
        "--log",
    )
    with Image.open(tmp_path / "two.png") as image:
        assert image.size == (1920, 652) and image.format == "PNG"
        colours = {colour for _, colour in image.getcolors(1 << 20) or []}
    assert {(0xB5, 0x65, 0x0F), (0x2B, 0x66, 0x99)} <= colours


def test_without_a_file_it_draws_in_the_terminal(jobs_by_name: dict[str, Job]) -> None:
    text = run("captain", "pirate").stdout
    assert "● captain" in text and "○ pirate" in text and "┤" in text
    assert "grad norm" in run("captain", "--metric", "all").stdout


def test_as_json_it_gives_the_points(jobs_by_name: dict[str, Job]) -> None:
    given = json.loads(run("captain", "--json", "--metric", "eval_loss").stdout)
    assert [point[0] for point in given[0]["metrics"]["eval_loss"]] == list(range(50, 301, 50))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pirate", "--out", "x.pdf"], "does not end in one of .csv, .svg, .png"),
        (["parrot", "--out", "x.svg"], "Nothing to draw yet: The run has taken no step"),
        (["too-large", "--out", "x.svg"], "Nothing to draw: The run has taken no step"),
        (["pirate", "--metric", "zeal"], "did not measure zeal"),
        (["pirate"] * 5, "at most 4"),
        (["nobody"], "There is no run named"),
        (["pirate", "--out", "/no/such/place.csv"], "No such file"),
    ],
)
def test_what_cannot_be_drawn_says_why(
    jobs_by_name: dict[str, Job], tmp_path: Path, arguments: list[str], message: str
) -> None:
    with pytest.raises(LuthierError, match=message):
        run(*arguments)
    assert not list(tmp_path.glob("x.*"))
