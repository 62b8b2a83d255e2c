"""The folders of every odd sort, as transformers and vLLM themselves read them; and a model whose
stop tokens stand in config.json alone, from training to its certificate."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.job import Job
from models import certificate
from models.folder import ModelFolder
from models.runs import Run
from tests.models.odd_folders import FOLDERS

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

_TOOLS = [{"type": "function", "function": {"name": "weather"}}]


@pytest.mark.parametrize("name", FOLDERS)
def test_transformers_and_vllm_read_the_same(name: str, tmp_path: Path) -> None:
    from vllm.config import ModelConfig
    from vllm.renderers.hf import resolve_chat_template
    from vllm.sampling_params import SamplingParams
    from vllm.tokenizers import get_tokenizer

    odd = FOLDERS[name]
    folder = odd.write(tmp_path / "model")
    has_tokenizer = odd.files.get("tokenizer.json", "there") is not None
    model = ModelConfig(model=str(folder), skip_tokenizer_init=not has_tokenizer)
    tokenizer = get_tokenizer(str(folder)) if has_tokenizer else None
    sampling = SamplingParams()
    sampling.update_from_generation_config(
        model.try_get_generation_config(), None if tokenizer is None else tokenizer.eos_token_id
    )
    assert sampling.all_stop_token_ids == set(odd.stops)
    assert model.get_vocab_size() == odd.vocabulary
    assert model.max_model_len == odd.context
    if tokenizer is not None:
        templates = tuple(
            resolve_chat_template(tokenizer, None, tools, model_config=model)
            for tools in (None, _TOOLS)
        )
        assert templates == (odd.template, odd.tool_template)


def test_a_model_with_its_stops_in_config_json_is_trained_served_and_certified_green(
    listed_run: Job,
) -> None:
    run, base = listed_run, Run(listed_run).base
    (template,) = (event for event in run.events() if event["kind"] == "template")
    assert "stop token is listed" not in {check["name"] for check in template["checks"]}
    stops = ModelFolder(base).stop_ids
    assert set(template["stop_ids"]) == stops
    assert set(ModelFolder(run.directory / "adapter").card.stop_ids or []) == stops
    green = certificate.read(run.directory)
    assert green is not None and (green.verdict, green.reasons) == ("green", [])
    assert "stop tokens, base" in {check.name for check in green.checks}
