"""Importing folders of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.home import models_directory
from jobs.luthier_error import LuthierError
from models.catalogue import find_entry
from models.folder import ModelFolder
from models.imports.launch import IDENTITY, link, partial_directory, start_import, unfinished
from models.registry import planned_directory
from tests.models.merge.headers import write_adapter
from tests.models.registry.made import import_here, model_folder, weights_bytes


def test_a_copy_has_what_makes_a_model_and_nothing_else(tmp_path: Path) -> None:
    source = model_folder(
        tmp_path / "My Model", licence="mit", auto_map={"AutoModel": "modeling.X"}
    )
    for name in ("pytorch_model.bin", "modeling.py", "optimizer.pt", "notes.txt", ".secret"):
        (source / name).write_text("x")
    (source / "additional_chat_templates").mkdir()
    (source / "additional_chat_templates" / "tools.jinja").write_text("{{ tools }}")
    result = import_here(str(source))
    assert result is not None and result["name"] == "My-Model"
    copy = models_directory() / "My-Model"
    assert sorted(
        path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()
    ) == [
        "README.md",
        "additional_chat_templates/tools.jinja",
        "card.json",
        "chat_template.jinja",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    entry = find_entry("My-Model")
    assert (
        entry.origin == f"imported from {source}"
        and entry.licence == "mit"
        and "auto_map" in entry.warnings[0]
    )
    assert (copy / "model.safetensors").read_bytes() == (source / "model.safetensors").read_bytes()


def test_an_adapter_s_folder(tmp_path: Path) -> None:
    source = write_adapter(tmp_path / "lora", base_model_name_or_path="pirates/base")
    (source / "config.json").write_text("{}")
    assert import_here(str(source)) is not None
    assert (
        find_entry("lora").kind == "tuned"
        and not (models_directory() / "lora" / "config.json").exists()
    )


def test_a_cut_off_file_is_noticed_and_nothing_stays(tmp_path: Path) -> None:
    source = model_folder(tmp_path / "cut")
    (source / "model.safetensors").write_bytes(weights_bytes(500)[:-7])
    with pytest.raises(LuthierError, match="Unreadable weights"):
        import_here(str(source))
    assert list(models_directory().iterdir()) == []


def test_a_stop_leaves_nothing(tmp_path: Path) -> None:
    assert import_here(str(model_folder(tmp_path / "small")), stop=True) is None
    assert list(models_directory().iterdir()) == []


def test_what_a_killed_import_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    left = partial_directory(models_directory() / "small")
    left.mkdir()
    (left / IDENTITY).write_text('{"source": "hub:a/b", "commit": "c"}')
    (left / "stale.safetensors").write_bytes(b"x" * 100)
    assert [part.source for part in unfinished()] == ["hub:a/b"]
    import_here(str(model_folder(tmp_path / "small")))
    assert not (models_directory() / "small" / "stale.safetensors").exists() and unfinished() == []


def test_no_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = model_folder(tmp_path / "small")
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(LuthierError, match="Not enough disk space"):
        import_here(str(source))


def test_a_link_copies_nothing_and_a_copy_of_a_card_keeps_its_origin(tmp_path: Path) -> None:
    source = model_folder(tmp_path / "small")
    (source / "card.json").write_text(
        '{"title": "Small", "source": "hub:a/small", "license": "mit", "commit": "abc",'
        ' "base_bits": 4, "stop_ids": [2]}'
    )
    assert link(str(source), "linked").resolve() == source
    import_here(str(source), "copied")
    card = ModelFolder(models_directory() / "copied").card
    assert (card.name, card.title, card.repository, card.commit) == (
        "copied",
        "Small",
        "a/small",
        "abc",
    )
    assert (card.base_bits, card.stop_ids) == (4, [2])


def test_what_cannot_be_imported_is_told_at_once(tmp_path: Path) -> None:
    source = model_folder(tmp_path / "small")
    (models_directory() / "small").mkdir()
    (tmp_path / "file.bin").write_bytes(b"\x80\x02")
    (tmp_path / "empty").mkdir()
    for text, name, title in (
        (str(source), None, "The name is taken"),
        (str(source), "builtin", "The name is taken"),
        (str(source), "../up", "Not a name"),
        (str(tmp_path / "none"), None, "No such model"),
        ("owner/name", None, "No such model"),
        (str(tmp_path / "file.bin"), None, "Not a model"),
        (str(tmp_path / "empty"), None, "Incomplete model"),
    ):
        with pytest.raises(LuthierError) as caught:
            start_import(text, name)
        assert caught.value.title == title, text
    with pytest.raises(LuthierError, match="hub:owner/name"):
        start_import("owner/name")


@pytest.mark.parametrize("name", ["x" * 300, f"/{'x' * 300}/model"])
def test_a_name_that_is_too_long_is_no_model(name: str) -> None:
    with pytest.raises(LuthierError, match="file name too long"):
        planned_directory(name)
