"""What can be certified as shipped, and what is refused with which words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.luthier_error import LuthierError
from serve.shipped.subject import subject_named


def folder(path: Path, **config: object) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    return path


def test_kinds_by_what_lies_there(luthier_home: Path, tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF")
    compressed = {"quant_method": "compressed-tensors"}
    kinds = {
        str(file): "gguf",
        str(folder(tmp_path / "plain", dtype="bfloat16")): "folder",
        str(folder(tmp_path / "fp8", quantization_config=compressed)): "compressed-tensors",
        "http://127.0.0.1:1/v1": "server",
    }
    assert {name: subject_named(name).kind for name in kinds} == kinds


def test_what_cannot_be_certified_is_refused_with_a_way_on(
    luthier_home: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("")
    (folder(tmp_path / "adapter") / "adapter_config.json").write_text("{}")
    gptq = folder(tmp_path / "gptq", quantization_config={"quant_method": "gptq"})
    for name, title in (
        (tmp_path / "notes.txt", "Not a model"),
        (tmp_path / "gone.gguf", "Nothing there"),
        (tmp_path / "adapter", "An adapter, not a model"),
        (gptq, "A quantisation that cannot be certified"),
        ("nobody", "No such endpoint"),
        ("ftp://host/v1", "Not an address"),
    ):
        with pytest.raises(LuthierError) as caught:
            subject_named(str(name))
        assert caught.value.title == title and caught.value.hint


@pytest.mark.xdist_group("gguf")
@pytest.mark.parametrize(
    ("shipped", "differing", "verdict"),
    [
        ("", None, "red"),
        ("A {{ x }}", None, "green"),
        ("A {{ x }}\n", None, "green"),
        ("A {{- ' ' ~ x }}", 0, "green"),
        ("B", 3, "red"),
    ],
)
def test_templates(shipped: str, differing: int | None, verdict: str) -> None:
    from serve.shipped.tokenizer_checks import template_check  # loads gguf

    check = template_check(shipped, "A {{ x }}", differing, 4)
    assert check.verdict == verdict
    assert differing != 3 or "3 of 4" in check.sentence
