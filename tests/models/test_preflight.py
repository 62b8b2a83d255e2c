"""The template preflight: its checks have names, and it chooses how to mask."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from models.preflight import TemplateReport, check_template, probe_template
from models.template import served_stop_ids
from serve.certificate import checks
from serve.certificate.turns import sample_of
from tests.models.corpus import stop_ids, tokenizer_for

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("transformers")]

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' +"
    " '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def report(
    template: str = CHATML, stops: set[str] | None = None, size: int | None = None, **tokens: Any
) -> TemplateReport:
    tokenizer = copy.deepcopy(tokenizer_for("chatml", template=template))
    for name, value in tokens.items():
        setattr(tokenizer, name, value)
    found = (
        {tokenizer.convert_tokens_to_ids(stop) for stop in stops}
        if stops
        else stop_ids("chatml", tokenizer)
    )
    return probe_template(tokenizer, found, size)


def statuses(found: TemplateReport) -> dict[str, str]:
    return {check.name: check.status for check in found.checks}


def test_a_plain_template_passes_and_is_rendered_once() -> None:
    found = report()
    assert not found.failed
    assert found.strategy == "once"
    assert statuses(found) | {"reasoning": "warn", "tools": "warn"} == statuses(found)
    assert {check.name for check in found.checks if check.status == "ok"} == {
        "user and assistant", "system", "generation prompt", "stop token", "padding token",
        "history", "BOS once", "round trip", "strategy",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("check", "status", "template"),
    [
        (
            "user and assistant",
            "fail",
            CHATML.replace("m['content']", "(m['content'] if m['role'] == 'user' else '')"),
        ),
        (
            "system",
            "warn",
            "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
            + CHATML,
        ),
        (
            "system",
            "warn",
            CHATML.replace("for m in messages", "for m in messages if m['role'] != 'system'"),
        ),
        (
            "generation prompt",
            "fail",
            CHATML.replace(
                "'<|im_start|>assistant\n' }}{% endif", "'<|im_start|>bot\n' }}{% endif"
            ),
        ),
        (
            "generation prompt",
            "warn",
            CHATML.replace(
                "'<|im_start|>assistant\n' }}{% endif",
                "'<|im_start|>assistant\n<think>\n' }}{% endif",
            ),
        ),
        ("stop token", "fail", CHATML.replace("+ '<|im_end|>'", "+ '.'")),
        (
            "history",
            "warn",
            CHATML.replace(
                "m['content']", "(m['content'] if loop.last or m['role'] != 'assistant' else 'cut')"
            ),
        ),
        ("BOS once", "fail", "{{ '<|im_start|>' * 2 }}" + CHATML),
        ("date", "warn", "{{ strftime_now('%Y') }}" + CHATML),
    ],
)
def test_what_is_wrong_with_a_template_has_a_name(check: str, status: str, template: str) -> None:
    found = report(template, bos_token="<|im_start|>")
    assert statuses(found)[check] == status
    assert found.strategy == ("once" if check in ("BOS once", "date", "system") else "per_turn")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mistral_v1", "it refuses one with 'Conversation roles must alternate"),
        ("gemma", "it refuses one with 'System role not supported'"),
        ("mistral_system_last", "it leaves it out"),
        ("chatml", ""),
        ("llama2", ""),
    ],
)
def test_a_template_without_a_place_for_a_system_prompt_is_found_out(name: str, said: str) -> None:
    tokenizer = tokenizer_for(name)
    found = probe_template(tokenizer, stop_ids(name, tokenizer), None)
    assert found.facts.no_system.startswith(said) if said else not found.facts.no_system
    assert not found.failed


def test_a_stop_token_that_no_file_lists_is_learned_and_told() -> None:
    found = report(stops={"<|endoftext|>"})
    assert statuses(found)["stop token is listed"] == "warn"
    assert "<|im_end|>" in found.facts.stop_texts


def test_a_stop_token_that_config_json_alone_lists_is_one_that_the_server_knows(
    tmp_path: Path,
) -> None:
    """Without a generation_config.json a server reads config.json: nothing to warn of, and the
    certificate's check of the base model is green."""
    tokenizer = copy.deepcopy(tokenizer_for("chatml", template=CHATML))
    tokenizer.eos_token = "<|endoftext|>"
    end, turn_end = (
        tokenizer.convert_tokens_to_ids(token) for token in ("<|endoftext|>", "<|im_end|>")
    )
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": [end, turn_end]}))
    report_of_folder = check_template(tokenizer, tmp_path)
    assert report_of_folder.stop_ids == (end, turn_end) and not report_of_folder.failed
    assert "stop token is listed" not in statuses(report_of_folder)
    sample = sample_of([1, turn_end], [-100, turn_end], [1], [])
    assert [turn.end for turn in sample.turns] == [2]
    stops = sorted(served_stop_ids(tokenizer, tmp_path))
    assert checks.stop_ids("base", [sample], stops).verdict == "green"


def test_a_padding_token_that_stops_is_told() -> None:
    assert statuses(report(pad_token="<|im_end|>"))["padding token"] == "warn"


def test_tokens_without_a_vector_are_found() -> None:
    assert statuses(report(size=10_000))["vocabulary"] == "ok"
    assert statuses(report(size=500))["vocabulary"] == "fail"


def test_a_model_directory_gives_stops_and_size(tmp_path: Path) -> None:
    tokenizer = tokenizer_for("chatml")
    (tmp_path / "config.json").write_text('{"text_config": {"vocab_size": 9999}}')
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [2]}')
    found = check_template(tokenizer, tmp_path)
    assert found.embedding_size == 9999
    assert set(found.stop_ids) == {2, tokenizer.eos_token_id}
    assert found.to_json()["strategy"] == "once"
