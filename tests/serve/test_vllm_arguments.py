"""Arguments for vLLM: what is Luthier's passes in no spelling, and everything else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.luthier_error import LuthierError
from serve import vllm_arguments
from serve.vllm_arguments import _OURS, _options, read_arguments, replicas, uses_ray

OURS = sorted(flag for flag, option in _options().items() if option.name in _OURS)
OTHERS = sorted(flag for flag, option in _options().items() if option.name not in _OURS)


def spellings(flag: str) -> list[str]:
    """How vLLM's parser takes a flag: with underscores, its value attached, a key of its value, and
    cut short."""
    forms = [
        flag,
        flag.replace("_", "-"),
        f"--{flag[2:].replace('-', '_')}" if flag.startswith("--") else flag,
    ]
    forms += [f"{form}{rest}" for form in forms for rest in ("=2", ".key=2", ".key", "=")]
    return (
        forms
        + [flag[:length] for length in range(3, len(flag))]
        + [f"{flag}{value}" for value in ("2", " 2")]
    )


@pytest.mark.parametrize("flag", OURS)
def test_what_luthier_sets_passes_in_no_spelling(flag: str) -> None:
    for spelled in spellings(flag):
        passed = None
        try:
            passed = read_arguments([spelled])
        except LuthierError as error:
            assert error.title == "Not a valid argument for vLLM"
        assert passed is None or not _OURS & set(passed), spelled
        assert (
            passed is None
            or spelled.partition("=")[0].partition(".")[0].replace("_", "-") in OTHERS
        ), spelled


@pytest.mark.parametrize(
    "argument",
    [
        *(
            "-tp=2",
            "-tp",
            "-asc=2",
            "--no-enable-lora",
            "--no_enable_lora",
            "--trust-remote-code",
            "--trust_remote_code=true",
        ),
        *(
            "--host",
            "--host=0.0.0.0",
            "--middleware",
            "--middl",
            "--api_key=x",
            "--root-path",
            "--config",
            "--lora_modules",
            "--por",
        ),
        *(
            "--chat-template",
            "--enable-log-requests",
            "--tool-call-parser=x",
            "--kv-cache-memory-bytes",
            "--log-config",
            "-as=2",
        ),
        *(
            "--device-memory-utilization=0.5",
            "--logging-config.pylogging_config_file=x",
            "--load-format=pt",
            "--hf-token=x",
        ),
    ],
)
def test_flags_that_are_luthiers_are_named(argument: str) -> None:
    with pytest.raises(LuthierError, match="Luthier sets itself"):
        read_arguments([argument])


@pytest.mark.parametrize(
    "arguments",
    [
        ["other-model"],
        ["--enforce-eager", "other-model"],
        ["--max-num-seqs", "8", "other"],
        ["--"],
        ["-"],
    ],
)
def test_a_value_without_a_flag_is_no_model(arguments: list[str]) -> None:
    with pytest.raises(LuthierError):
        read_arguments(arguments)


@pytest.mark.parametrize(
    ("argument", "hint"),
    [("--max-num-se=8", "--max-num-seqs"), ("-q4", "-q"), ("--max-num-seq-of-all", "help=all")],
)
def test_a_flag_that_is_cut_short_is_asked_for_in_full(argument: str, hint: str) -> None:
    with pytest.raises(LuthierError) as refused:
        read_arguments([argument])
    assert hint in refused.value.hint


@given(st.lists(st.sampled_from(OTHERS), max_size=4))
def test_vllms_other_flags_pass(flags: list[str]) -> None:
    assert set(read_arguments(flags)) == {_options()[flag].name for flag in flags}


def test_values_are_read_as_vllm_reads_them() -> None:
    assert read_arguments(
        [
            "--max-num-seqs",
            "8",
            "--quantization=fp8",
            "--config_format",
            "hf",
            "-O0",
            "-cc.mode=3",
            "--seed",
            "-1",
        ]
    ) == {
        "max_num_seqs": ["8"],
        "quantization": ["fp8"],
        "config_format": ["hf"],
        "optimization_level": [],
        "compilation_config": ["3"],
        "seed": ["-1"],
    }


def test_copies_and_stages_take_gpus() -> None:
    spelled: tuple[list[str], ...] = (
        [],
        ["--data-parallel-size=4"],
        ["--data_parallel_size", "2"],
        ["-dp", "3"],
        ["-dp=3"],
        ["-dpl=2"],
    )
    assert [replicas(arguments) for arguments in spelled] == [1, 4, 2, 3, 3, 1]
    stages = ["--pipeline-parallel-size=2", "-dp", "2"]
    assert replicas(stages) == 4
    # the other stages are on other machines
    assert replicas([*stages, "--distributed-executor-backend=ray"]) == 2
    assert uses_ray(["--distributed-executor-backend", "ray"]) and not uses_ray(
        ["--distributed-executor-backend", "mp"]
    )


def test_every_name_that_is_luthiers_is_one_of_vllms() -> None:
    known = {option.name for option in _options().values()}
    assert set(vllm_arguments._OURS) - known == {"model_tag"}  # its only argument without a flag
