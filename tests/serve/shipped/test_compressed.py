"""Compressed-tensors of a tiny model: what the library's rounding leaves, also by the scheme of
another folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("gguf")]


@pytest.mark.parametrize(("scheme", "off"), [("FP8_DYNAMIC", 0.04), ("INT8", 0.01)])
def test_rounded_weights_come_back_and_a_folder_is_a_scheme(
    tmp_path: Path, scheme: str, off: float
) -> None:
    from models.export.compressed_writer import write
    from serve.certificate.measured import Scores
    from serve.certificate.turns import Sample, Turn
    from serve.shipped.measured import Question
    from serve.shipped.transformers_scores import _answer
    from tests.real.tiny import write_tiny_model

    model = write_tiny_model(tmp_path / "tiny", hidden=64)
    write(model, tmp_path / "first", scheme)
    write(model, tmp_path / "second", str(tmp_path / "first"))
    config = json.loads((tmp_path / "first" / "config.json").read_text())["quantization_config"]
    assert config["quant_method"] == "compressed-tensors"
    sample = Sample([1, 10, 11, 12, 13, 2], [], [Turn(3, 6, 1)], whole=False)
    answers = [
        _answer(Question(str(tmp_path / name), "cpu", [sample], trained=str(model)))
        for name in ("first", "second")
    ]
    assert answers[0].scores == answers[1].scores and isinstance(answers[0].scores, Scores)
    assert len(answers[0].scores.log_probabilities) == 3
    moved = answers[0].moved
    assert moved["model.embed_tokens.weight"] < 0.003  # to 16 bits alone
    projections = [share for name, share in moved.items() if "proj" in name]
    assert len(projections) == 14 and min(projections) > 0.0 and max(projections) < off
    assert (tmp_path / "first" / "chat_template.jinja").is_file()
