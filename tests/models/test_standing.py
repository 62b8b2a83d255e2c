"""What may be said of a run's model: its certificate and its chapters together."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from models import certificate, chapters
from models.certificate import Check, Verdict
from models.chapters import Chapter, ChapterKind
from models.standing import NO_CERTIFICATE, Standing, of_adapter, standing
from tests.models.test_certificate import make


def write_chapter(run: Path, kind: ChapterKind, verdict: Verdict) -> Chapter:
    check = Check("rows", verdict, f"It is {verdict}.")
    files = certificate.stamps(run / "adapter") if (run / "adapter").is_dir() else []
    chapter = Chapter(kind, "", "Summary.", 1.0, 2.0, "job-1", [check], files=files)
    chapters.write(run, chapter)
    return chapter


@pytest.mark.parametrize(
    ("of_certificate", "of_chapters", "expected"),
    [
        (None, {}, NO_CERTIFICATE),
        ("green", {"guard": "green"}, Standing("green")),
        (
            "green",
            {"guard": "amber", "recites": "red"},
            Standing("red", "What it recites: It is red."),
        ),
        (
            "green",
            {"drift": "amber", "shipped": "amber"},
            Standing("amber", "What is shipped: It is amber."),
        ),
        ("amber", {"guard": "amber"}, Standing("amber", "Reason 0.")),
        ("red", {"guard": "red"}, Standing("red", "Reason 0.")),
        (None, {"guard": "green"}, NO_CERTIFICATE),  # nothing says that it is what was trained
        (None, {"guard": "red"}, Standing("red", "What it won and lost: It is red.")),
    ],
)
def test_the_worst_counts_and_names_its_chapter(
    tmp_path: Path,
    of_certificate: Verdict | None,
    of_chapters: dict[ChapterKind, Verdict],
    expected: Standing,
) -> None:
    if of_certificate is not None:
        certificate.write(tmp_path, make(tmp_path, of_certificate))
    for kind, verdict in of_chapters.items():
        write_chapter(tmp_path, kind, verdict)
    assert standing(tmp_path) == expected


def test_what_only_the_merged_model_or_an_export_has_does_not_count_for_the_served_adapter(
    tmp_path: Path,
) -> None:
    merged = tmp_path / "merged"
    merged.mkdir()
    (merged / "config.json").write_text("{}")
    names = ("merged, vLLM, log-probs", "stop tokens, merged", "merged model")
    with_merged = make(tmp_path, "green")
    with_merged = dataclasses.replace(
        with_merged,
        merged=str(merged),
        checks=[*with_merged.checks, *(Check(name, "red", f"{name} is red.") for name in names)],
        files=[*with_merged.files, *certificate.stamps(merged)],
    )
    certificate.write(tmp_path, with_merged)
    write_chapter(tmp_path, "shipped", "red")
    assert standing(tmp_path) == Standing("red", "merged, vLLM, log-probs is red.")
    assert of_adapter(tmp_path) == Standing("green")
    (merged / "config.json").unlink()  # merged again, or deleted
    assert of_adapter(tmp_path) == Standing("green")
    write_chapter(tmp_path, "guard", "red")
    assert of_adapter(tmp_path) == Standing("red", "What it won and lost: It is red.")


def test_an_outdated_chapter_is_at_best_amber(tmp_path: Path) -> None:
    kept_certificate = make(tmp_path, "green")
    write_chapter(tmp_path, "recites", "green")
    config = tmp_path / "adapter" / "adapter_config.json"
    os.utime(config, ns=(1, 1))
    certificate.write(
        tmp_path, dataclasses.replace(kept_certificate, files=certificate.stamps(config.parent))
    )
    reason = "What it recites: adapter_config.json has changed since it was measured."
    assert standing(tmp_path) == Standing("amber", reason, outdated=True)


def test_a_damaged_chapter_is_named(tmp_path: Path) -> None:
    certificate.write(tmp_path, make(tmp_path, "green"))
    write_chapter(tmp_path, "drift", "green")
    (tmp_path / "chapters" / "drift.json").write_text("{")
    now = standing(tmp_path)
    assert (now.verdict, now.outdated) == ("amber", True)
    assert "drift.json is damaged" in now.reason
