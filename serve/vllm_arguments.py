"""The arguments for vLLM that a user adds: read as vLLM's own parser reads them, and refused where
they set what is Luthier's.

A flag passes if it is one of vLLM's, written in full, and not one of Luthier's: no spelling has to
be thought of. vllm_options.toml holds vLLM's flags, so that vLLM, which takes seconds to import, is
not needed here; a test holds it against vLLM's parser.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jobs.luthier_error import LuthierError

# The guard, the names, the place, the log and the plan are Luthier's: a flag for one of these would
# open a door or lose the server.
_OURS = {
    *(
        "api_key",
        "api_server_count",
        "config",
        "headless",
        "middleware",
        "trust_request_chat_template",
        "root_path",
        "allowed_origins",
    ),
    *(
        "host",
        "port",
        "uds",
        "grpc",
        "grpc_port",
        "data_parallel_supervisor_port",
        "data_parallel_multi_port_external_lb",
    ),
    *(
        "ssl_ca_certs",
        "ssl_cert_reqs",
        "ssl_certfile",
        "ssl_ciphers",
        "ssl_keyfile",
        "enable_ssl_refresh",
    ),
    *(
        "model",
        "model_tag",
        "tokenizer",
        "hf_config_path",
        "hf_token",
        "served_model_name",
        "chat_template",
        "generation_config",
    ),
    *("trust_remote_code", "load_format", "worker_cls", "worker_extension_cls"),
    *(
        "dtype",
        "max_model_len",
        "gpu_memory_utilization",
        "kv_cache_memory_bytes",
        "tensor_parallel_size",
        "enable_sleep_mode",
    ),
    *("enable_lora", "lora_modules", "max_cpu_loras", "max_lora_rank", "max_loras"),
    *("enable_auto_tool_choice", "tool_call_parser", "reasoning_parser"),
    *(
        "enable_log_outputs",
        "enable_log_deltas",
        "enable_log_requests",
        "disable_access_log_for_endpoints",
    ),
    *("log_config_file", "log_level", "logging_config", "help"),
}
_WHY = {
    "trust_remote_code": (
        "Luthier does not run code that comes with a model: it serves the architectures that"
        " vLLM itself has."
    ),
    "load_format": "Luthier reads models only from safetensors: other formats can run code.",
    "hf_token": (
        "Luthier downloads nothing while it serves a model; use `luthier models import"
        " hub:OWNER/NAME` before."
    ),
}
_NEGATIVE_NUMBER = re.compile(r"-\d+|-\d*\.\d+")


@dataclass(frozen=True)
class Option:
    """One of vLLM's. `most` is how many values it takes."""

    name: str
    most: float


def read_arguments(arguments: Sequence[str]) -> dict[str, list[str]]:
    """The values of each option by vLLM's name for it. LuthierError for what is no flag of vLLM's
    in full, or for what Luthier sets."""
    values: dict[str, list[str]] = {}
    option = Option("", 0)
    for argument in arguments:
        if not argument.startswith("-") or _NEGATIVE_NUMBER.fullmatch(argument):
            if len(values.get(option.name, [])) >= option.most:
                message = f"{argument!r} does not follow a flag that takes a value."
                raise LuthierError(
                    "Not a valid argument for vLLM",
                    message,
                    "Write a flag and its value: --vllm=--max-num-seqs=8",
                )
            values[option.name].append(argument)
            continue
        flag, equals, value = argument.partition("=")
        option = _option(flag)
        if option.name in _OURS:
            raise _refusal(argument, option.name)
        values[option.name] = [value] if equals else []
    return values


def replicas(arguments: Sequence[str]) -> int:
    """How many times `gpus` vLLM takes of this machine: copies (data parallelism), stages (pipeline
    parallelism; with Ray, elsewhere)."""
    values = read_arguments(arguments)
    stages = 1 if uses_ray(arguments) else _number(values.get("pipeline_parallel_size", []))
    return _number(values.get("data_parallel_size", [])) * stages


def uses_ray(arguments: Sequence[str]) -> bool:
    """Whether vLLM's processes are spread by Ray, over other machines as well."""
    values = read_arguments(arguments)
    return any(
        values.get(name) == ["ray"]
        for name in ("distributed_executor_backend", "data_parallel_backend")
    )


def _number(values: list[str]) -> int:
    return int(values[0]) if values and values[0].isdecimal() else 1


def _option(flag: str) -> Option:
    """The option of a flag as it was written. vLLM takes underscores for hyphens, and what follows
    a dot for a part of the value."""
    if re.fullmatch(r"-O\w*", flag):
        return _options()["--optimization-level"]
    name = flag.partition(".")[0]
    if name.startswith("--"):
        name = name.replace("_", "-")
    if name in _options():
        return _options()[name]
    similar = [
        option
        for option in _options()
        if option.startswith(name) or (len(option) == 2 and name.startswith(option))
    ]
    ours = next((option for option in similar if _options()[option].name in _OURS), None)
    if ours is not None and len(name) > 2:
        raise _refusal(flag, _options()[ours].name)
    hint = (
        f"Write it in full, such as {similar[0]}."
        if similar
        else "`vllm serve --help=all` lists them."
    )
    raise LuthierError("Not a valid argument for vLLM", f"vLLM has no flag {flag!r}.", hint)


def _refusal(argument: str, name: str) -> LuthierError:
    message = f"{argument!r} sets --{name.replace('_', '-')}, which Luthier sets itself."
    return LuthierError(
        "Not a valid argument for vLLM",
        message,
        _WHY.get(name, "Leave it out: Luthier has options of its own for what it sets."),
    )


@cache
def _options() -> dict[str, Option]:
    """vLLM's options by each way to write them."""
    by_values = tomllib.loads(
        Path(__file__).with_name("vllm_options.toml").read_text(encoding="utf-8")
    )
    most = {"no-value": 0.0, "one-value": 1.0, "values": float("inf")}
    return {
        flag: Option(name, most[section])
        for section, options in by_values.items()
        for name, flags in options.items()
        for flag in flags
    }
