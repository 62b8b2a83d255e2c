"""The folders of every odd sort, as transformers and vLLM themselves read them; and a model whose
stop tokens stand in config.json alone, from training to its certificate."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from jobs.job import all_jobs, find, wait
from jobs.state import Done
from models import certificate
from models.folder import ModelFolder
from tests.models.odd_folders import FOLDERS
from tests.real.conftest import LUTHIER, ROOT

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


@pytest.fixture
def listed_in_config_json(builtin_model: Path, tmp_path: Path) -> Path:
    """The built-in model with its stop tokens in config.json alone: its tokenizer's eos is another
    one than what closes a turn."""
    folder = tmp_path / "listed"
    shutil.copytree(builtin_model, folder)
    (folder / "generation_config.json").unlink()
    tokens = ModelFolder(folder).token_ids
    stops = [tokens["<|endoftext|>"], tokens["<|im_end|>"]]
    for name, changed in (
        ("config.json", {"eos_token_id": stops}),
        ("tokenizer_config.json", {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}),
    ):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**content, **changed}))
    return folder


def test_a_model_with_its_stops_in_config_json_is_trained_served_and_certified_green(
    listed_in_config_json: Path, tmp_path: Path
) -> None:
    rows = (ROOT / "examples" / "captain" / "train.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "train.jsonl").write_text("".join(rows[:96]))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'name = "listed"\nmodel = "{listed_in_config_json}"\ndata = ["train.jsonl"]\n[train]\n'
        "epochs = 1\nlearning_rate = 1e-3\nglobal_batch = 8\n[evaluation]\ntimes = 1\n"
        "answer_tokens = 8\n"
    )
    answer = subprocess.run(
        [*LUTHIER, "train", str(recipe)], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    run = find(answer.stdout.strip())
    assert wait(run, 400)
    assert isinstance(run.state(), Done), f"{run.state()}\n{run.log_path.read_text()[-4000:]}"
    (template,) = (event for event in run.events() if event["kind"] == "template")
    assert "stop token is listed" not in {check["name"] for check in template["checks"]}
    stops = ModelFolder(listed_in_config_json).stop_ids
    assert set(template["stop_ids"]) == stops
    assert set(ModelFolder(run.directory / "adapter").card.stop_ids or []) == stops
    (job,) = (job for job in all_jobs("certify") if job.spec.settings["run"] == str(run.directory))
    assert wait(job, 400)
    assert isinstance(job.state(), Done), f"{job.state()}\n{job.log_path.read_text()[-4000:]}"
    green = certificate.read(run.directory)
    assert green is not None and (green.verdict, green.reasons) == ("green", [])
    assert "stop tokens, base" in {check.name for check in green.checks}
