"""The folders of every odd sort, as transformers and vLLM themselves read them; and a model whose
stop tokens stand in config.json alone, from training to its certificate."""

from __future__ import annotations

from pathlib import Path

import pytest

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
            resolve_chat_template(tokenizer, None, tools, model_config=model)  # type: ignore[arg-type]
            for tools in (None, _TOOLS)
        )
        assert templates == (odd.template, odd.tool_template)
