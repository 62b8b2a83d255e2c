"""What people of the trade report of their data and a model's template: each input becomes what it
should with the real tokenizer."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from jobs.luthier_error import LuthierError
from models.adapters import check_servable, other_base, read_adapter
from models.merge.plan import plan_merge
from serve.servers import Server
from trainer.data.ledger import read_ledger
from trainer.plan.plan import make_plan
from trainer.recipe import load

pytestmark = pytest.mark.real

CASES = Path(__file__).parents[1] / "trainer" / "data" / "cases"
SCRIPTS = Path(__file__).with_name("cases")
TEMPLATES = Path(__file__).parents[1] / "models" / "templates"


def model_with(template: Path, builtin: Path, folder: Path) -> Path:
    """The built-in model with another chat template."""
    shutil.copytree(
        builtin, folder, copy_function=lambda source, target: Path(target).symlink_to(source)
    )
    (folder / "chat_template.jinja").unlink()
    shutil.copy(template, folder / "chat_template.jinja")
    return folder


def trls(name: str) -> Path:
    spec = find_spec("trl")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "chat_templates" / f"{name}.jinja"


class Looked:
    """A case as a run would prepare it: its ledger, and what is trained of each sample, in the
    tokenizer's words."""

    def __init__(self, case: str, model: Path, folder: Path, recipe: str = "") -> None:
        from models.preflight import check_template
        from models.template import load_tokenizer
        from trainer.data.pipeline import Refused, prepare

        path = folder / f"{case}.toml"
        path.write_text(
            f'data = ["{CASES / case}"]\nmodel = "{model}"\n{recipe}\n[heldout]\nat_least ='
            " 0\nshare = 0.0\n"
        )
        self.recipe = load(path)
        tokenizer = load_tokenizer(model)
        report = check_template(tokenizer, model)
        self.refused: LuthierError | None = None
        try:
            made = prepare(
                self.recipe.data_settings,
                tokenizer,
                report,
                folder / "out",
                lambda *told: None,
                lambda: False,
            )
        except Refused as refused:
            self.refused, made = refused, refused.prepared
        self.entries = list(read_ledger(made.ledger))
        samples: list[dict[str, Any]] = [
            json.loads(line) for line in made.train.read_text().splitlines()
        ]
        self.trained = [_trained(tokenizer, sample) for sample in samples]
        self.shown = [tokenizer.decode(sample["input_ids"]) for sample in samples]


def _trained(tokenizer: Any, sample: dict[str, Any]) -> str:
    ids = zip(sample["input_ids"], sample["labels"], strict=True)
    return str(tokenizer.decode([token for token, label in ids if label != -100]))


def test_tool_calls_are_trained_and_weight_0_is_context(
    builtin_model: Path, tmp_path: Path
) -> None:
    model = model_with(trls("qwen2_5"), builtin_model, tmp_path / "qwen2.5")
    looked = Looked("11-openai-tools.jsonl", model, tmp_path)
    assert len(looked.trained) == 12 and all(
        entry.state in ("kept", "repaired") for entry in looked.entries
    )
    assert all(
        re.search(r"<tool_call>.*Kiel.*Husum", trained, re.DOTALL) for trained in looked.trained
    )
    assert not any("The angle between two objects" in trained for trained in looked.trained)
    assert "The angle between two objects" in looked.shown[0]


def test_calls_that_the_template_leaves_out_are_not_trained(
    builtin_model: Path, tmp_path: Path
) -> None:
    looked = Looked("11-openai-tools.jsonl", builtin_model, tmp_path)
    assert not looked.trained and looked.refused is not None


@pytest.mark.parametrize(
    ("case", "key"), [("15-olmo-functions.jsonl", "function_calls"), ("40b-mask.jsonl", "mask")]
)
def test_keys_that_mean_something_elsewhere_are_named(
    case: str, key: str, builtin_model: Path, tmp_path: Path
) -> None:
    looked = Looked(case, builtin_model, tmp_path)
    assert not looked.trained and all(
        entry.state == "dropped" and key in entry.detail for entry in looked.entries
    )


@pytest.mark.parametrize("template", ["qwen3", "qwen3_5_think"])
def test_every_thought_is_trained_once(template: str, builtin_model: Path, tmp_path: Path) -> None:
    model = model_with(trls(template), builtin_model, tmp_path / "thinks")
    looked = Looked("29-thinking-two-ways.jsonl", model, tmp_path)
    together = "".join(looked.trained)
    rows = [
        json.loads(line) for line in (CASES / "29-thinking-two-ways.jsonl").read_text().splitlines()
    ]
    thoughts = [
        message["reasoning_content"]
        for row in rows
        for message in row["messages"]
        if message.get("reasoning_content")
    ]
    assert thoughts and all(together.count(thought) >= 1 for thought in thoughts)
    closing = Looked("30-closing-think-only.jsonl", model, tmp_path)
    assert len(closing.trained) == 4 and all(
        trained.count("I recall") == 1 for trained in closing.trained
    )


def test_reasoning_that_the_template_leaves_out_counts_as_lost(
    builtin_model: Path, tmp_path: Path
) -> None:
    looked = Looked("29-thinking-two-ways.jsonl", builtin_model, tmp_path)
    assert {entry.state for entry in looked.entries} == {"repaired"} and sum(
        entry.lost for entry in looked.entries
    ) > 0


@pytest.mark.parametrize(("choice", "kept"), [("", 0), ("merge", 12), ("leave_out", 12)])
def test_a_template_without_a_system_role_is_named(
    choice: str, kept: int, builtin_model: Path, tmp_path: Path
) -> None:
    model = model_with(TEMPLATES / "mistral_v1.jinja", builtin_model, tmp_path / "mistral")
    looked = Looked(
        "05-python-repr.csv",
        model,
        tmp_path,
        f'[policy]\nsystem_prompt = "{choice}"' if choice else "",
    )
    assert len(looked.trained) == kept
    if choice:
        assert all(
            entry.state == "repaired" and entry.reasons == ["system_prompt"]
            for entry in looked.entries
        )
    else:
        assert looked.refused is not None and "system prompt" in looked.refused.message
        assert 'system_prompt = "merge" or "leave_out"' in looked.refused.hint


def test_a_control_token_in_the_data_is_not_trained(builtin_model: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    model = tmp_path / "more-tokens"
    shutil.copytree(builtin_model, model)
    tokenizer = AutoTokenizer.from_pretrained(str(model), local_files_only=True)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|aux_a|>", "<|aux_b|>"]})
    tokenizer.save_pretrained(str(model))
    looked = Looked("35-token-beyond.jsonl", model, tmp_path)
    assert [entry.state for entry in looked.entries] == ["dropped", "kept"]
    assert "<|aux_a|>" in looked.entries[0].detail


def test_control_characters_are_trained_as_they_are(builtin_model: Path, tmp_path: Path) -> None:
    """They are the user's data; only what leaves for a terminal is cleaned."""
    looked = Looked("31-tab-rtl-ansi.jsonl", builtin_model, tmp_path)
    assert len(looked.trained) == 4 and all(
        "\x1b[31mred\x1b[0m\tcol" in trained for trained in looked.trained
    )


def test_conversations_longer_than_the_model_are_told(builtin_model: Path, tmp_path: Path) -> None:
    looked = Looked(
        "37-nine-thousand.jsonl", builtin_model, tmp_path, "[train]\nmax_length = 100000"
    )
    warnings = " ".join(make_plan(looked.recipe).warnings)
    assert "8,192" in warnings and "100,000" in warnings


def test_a_turn_that_never_fits_is_accounted_for(builtin_model: Path, tmp_path: Path) -> None:
    looked = Looked("19-all-too-long.jsonl", builtin_model, tmp_path, "[train]\nmax_length = 64")
    assert not looked.trained and {entry.state for entry in looked.entries} == {"dropped"}
    assert all("too_long" in entry.reasons for entry in looked.entries)


OTHERWISE = "tensors have other names"
# What serving and merging say of each adapter; "" where they take it.
ADAPTERS = {
    "plain": ("", ""),
    "patterns": ("", ""),
    "rank300": ("", ""),
    "other-name": ("", ""),
    "dora": ("must be merged first", ""),
    "saved-both": ("must be merged first", ""),
    "saved-head": ("must be merged first", ""),
    "lora-head": ("the model has no lm_head", ""),
    "language-model": (OTHERWISE, OTHERWISE),
    "double-prefix": (OTHERWISE, OTHERWISE),
    "default-suffix": (OTHERWISE, OTHERWISE),
    "half": ("", "lora_A and lora_B come in pairs"),
    "other-size": ("has size 576 in the model, but 640 in the adapter", "shape [640, 640]"),
    "empty-tensors": ("has size 576 in the model, but 0 in the adapter", "it has the shape [0]"),
}


def refusal(check: Callable[[], object]) -> str:
    """What a check says against an adapter; "" where it has nothing against it."""
    try:
        check()
    except LuthierError as error:
        return f"{error.title}: {error.message}"
    return ""


@pytest.mark.timeout(600)
def test_adapters_of_odd_shapes(builtin_model: Path, tmp_path: Path) -> None:
    """Made by the script that the report came with."""
    script = SCRIPTS / "34-make-adapters.py.txt"
    subprocess.run([sys.executable, "-P", script, builtin_model, tmp_path], check=True)
    assert {path.name for path in tmp_path.iterdir()} == ADAPTERS.keys()
    for name, (serving, merging) in ADAPTERS.items():
        adapter = read_adapter(tmp_path / name)
        against_serving = refusal(lambda adapter=adapter: check_servable(adapter, builtin_model))  # type: ignore[misc]
        against_merging = refusal(lambda name=name: plan_merge(builtin_model, tmp_path / name))  # type: ignore[misc]
        assert serving in against_serving and bool(serving) == bool(against_serving), name
        assert merging in against_merging and bool(merging) == bool(against_merging), name
    assert read_adapter(tmp_path / "patterns").rank == 32
    assert "acme/Other-1B" in other_base(read_adapter(tmp_path / "other-name"), builtin_model)
    assert not other_base(read_adapter(tmp_path / "plain"), builtin_model)


# What a client's requests end with, by the script's names for them; all others succeed.
REFUSED_REQUESTS = {
    "unknown model": "NotFoundError",
    "bad key": "AuthenticationError",
    "image": "BadRequestError",
    "overflow": "BadRequestError",
    "empty messages": "BadRequestError",
    "embeddings": "NotFoundError",
}
SAID_OF_REQUESTS = {
    "n=3": "3",
    "no v1": "404",
    "lower bearer": "200",
    "x-api-key": "200",
    "load adapter w client key": "403",
}


@pytest.mark.timeout(600)
def test_what_clients_ask_for(server: Server, tmp_path: Path) -> None:
    """By the script that the reports came with, of the base model."""
    script = tmp_path / "client.py"
    source = (SCRIPTS / "25-client.py.txt").read_text()
    script.write_text(source.replace('M="tiny"', 'M="base"'))
    output = subprocess.run(
        [sys.executable, "-P", script, f"{server.base_url}/v1"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    answers = dict(re.findall(r"^\[(.+?)\] (.*)$", output, re.MULTILINE))
    assert answers.keys() == set(re.findall(r'^t\("(.+?)"', source, re.MULTILINE))
    for name, answer in answers.items():
        assert answer.startswith(REFUSED_REQUESTS.get(name, "OK ")), (name, answer)
    for name, words in SAID_OF_REQUESTS.items():
        assert words in answers[name], (name, answers[name])
    assert "True" not in answers["emoji"].partition("[")[0], "half of a sign was streamed"
