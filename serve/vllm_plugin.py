"""What Luthier mends in vLLM, in each of its processes: vLLM calls `register` there, by the entry
point in pyproject.toml.

vLLM 0.32 on a CPU marks the base model's tokens with the adapter index -1 and then takes
weights[-1], the adapter in the last slot. A base answer that is computed beside a tuned one would
be the tuned model's as soon as every slot is taken.

It has the keys of a tool call in the order of OpenAI's types, arguments before name, and templates
that write a call as JSON (Granite's, Mistral's) would show the model calls that nobody writes so.

It looks at a model's class in a new interpreter, which imports everything once more.

On a GPU it asks torch alone whether the process that it forks its engine from has touched the GPU.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

from serve.vllm_process import START_METHOD, answered_by_fork, driver_is_initialised

_CALL_KEYS = ("id", "type", "function")
_FUNCTION_KEYS = ("name", "arguments")
_OPERATIONS = ("bgmv_shrink", "bgmv_expand", "bgmv_expand_slice")


def register() -> None:
    from vllm.platforms import current_platform

    with contextlib.suppress(ImportError):  # an older vLLM has it elsewhere
        from vllm.renderers import chat_utils

        prepare = chat_utils._postprocess_messages
        if not hasattr(prepare, "has_names_first"):
            chat_utils._postprocess_messages = names_before_arguments(prepare)
    from vllm.model_executor.models import registry

    if not hasattr(registry._run_in_subprocess, "is_by_fork"):
        registry._run_in_subprocess = answered_by_fork(registry._run_in_subprocess)
    if current_platform.is_cpu():
        if os.environ.get(START_METHOD) == "fork":
            keep_fork(type(current_platform))
        from vllm.lora.ops.torch_ops import lora_ops
        from vllm.lora.punica_wrapper import punica_cpu

        for name in _OPERATIONS:
            operation = getattr(lora_ops, name)
            if not hasattr(operation, "spares_base_tokens"):
                sparing = spare_base_tokens(operation)
                setattr(lora_ops, name, sparing)
                setattr(punica_cpu, name, sparing)
    elif current_platform.is_cuda():
        from vllm.utils import system_utils

        system_utils.cuda_is_initialized = or_driver(system_utils.cuda_is_initialized)


def names_before_arguments(
    prepare: Callable[[list[dict[str, Any]]], None],
) -> Callable[[list[dict[str, Any]]], None]:
    """What prepares a conversation for its template, with the keys of calls in the order in which
    they are written, here as in training."""

    def prepared(messages: list[dict[str, Any]]) -> None:
        prepare(messages)
        for message in messages:
            calls = message.get("tool_calls")
            if message["role"] == "assistant" and isinstance(calls, list):  # as vLLM has it
                message["tool_calls"] = [
                    _with_first(_CALL_KEYS, call)
                    | {"function": _with_first(_FUNCTION_KEYS, call["function"])}
                    for call in calls
                ]

    prepared.has_names_first = True  # type: ignore[attr-defined]
    return prepared


def _with_first(keys: tuple[str, ...], values: dict[str, Any]) -> dict[str, Any]:
    return {key: values[key] for key in keys if key in values} | values


def keep_fork(platform: Any) -> None:
    """Have a CPU's platform fork where the environment says so: it sets "spawn" in any case."""
    update = platform.check_and_update_config

    def updated(config: Any) -> None:
        update(config)
        os.environ[START_METHOD] = "fork"

    platform.check_and_update_config = staticmethod(updated)


def or_driver(is_initialized: Callable[[], bool]) -> Callable[[], bool]:
    """The question, answered with yes also where a library that is not torch has initialised the
    driver: a forked engine could not use it then."""
    return lambda: is_initialized() or driver_is_initialised()


def spare_base_tokens(operation: Callable[..., None]) -> Callable[..., None]:
    """The operation with zeros for inputs (tokens, width) whose adapter index (tokens,) is
    negative: no adapter adds anything to them."""

    def spared(
        inputs: Any, weights: Any, output: Any, indices: Any, *rest: Any, **more: Any
    ) -> None:
        operation(
            inputs.masked_fill((indices < 0).unsqueeze(1), 0),
            weights,
            output,
            indices,
            *rest,
            **more,
        )

    spared.spares_base_tokens = True  # type: ignore[attr-defined]
    return spared
