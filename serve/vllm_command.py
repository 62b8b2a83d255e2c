"""vLLM's command line and environment, as they follow from a server's plan."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from jobs.home import home, jobs_directory
from models.folder import ModelFolder
from models.installation import not_installed
from models.model_directory import has_config
from serve.guard import (
    CLIENT_KEY_VARIABLE,
    CONTROL_KEY_VARIABLE,
    MOST_PINS_VARIABLE,
    ORIGINS_VARIABLE,
    SERVER_ID_VARIABLE,
)
from serve.key_files import client_key, control_key
from serve.plan import GPU_MEMORY, REQUEST_LOG, ServerPlan
from serve.traffic import LOG_CONTENT_VARIABLE, PROMPT_LOGPROBS_ALONE, REQUEST_LOG_VARIABLE
from serve.vllm_process import START_METHOD, TOUCHES_GPU

# A third key; and what would have vLLM write into its log what people say.
_NOT_INHERITED = (
    "VLLM_API_KEY",
    "VLLM_DEBUG_LOG_API_SERVER_RESPONSE",
    "VLLM_LOGGING_CONFIG_PATH",
    "VLLM_SERVER_DEV_MODE",
)
_OTHER_SENSES = {"vision_config", "audio_config", "thinker_config"}
"""What the config of a model of more than text has."""
_POLLED_ROUTES = "/health,/metrics,/v1/models,/luthier/server"


def vllm_module() -> str:
    """The module that starts vLLM's server in this interpreter, found without importing vLLM."""
    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        raise not_installed("vLLM is not installed", ["vllm"])
    entry = Path(spec.origin).parent / "entrypoints" / "launchers" / "api_server" / "entry.py"
    return (
        "vllm.entrypoints.launchers.api_server.entry"
        if entry.is_file()
        else "vllm.entrypoints.openai.api_server"
    )


def command(plan: ServerPlan, python: str) -> list[str]:
    """vLLM's command line. Adapters are not in it: they are loaded once the server runs, so that a
    bad one can say why."""
    arguments = [
        python,
        "-P",
        "-m",
        "serve.vllm_process",
        vllm_module(),
        "--model",
        str(plan.base),
        "--served-model-name",
        *plan.names,
    ]
    arguments += [
        "--host",
        plan.host,
        "--port",
        str(plan.port),
        "--middleware",
        "serve.guard.Guard",
    ]
    arguments += ["--dtype", plan.dtype, "--generation-config", plan.generation_config]
    if not plan.why_no_adapters:
        arguments += ["--enable-lora", "--max-lora-rank", str(plan.max_lora_rank)]
        arguments += ["--max-loras", str(plan.max_loras)]
        arguments += ["--max-cpu-loras", str(2 * plan.max_loras)]
    arguments += ["--disable-access-log-for-endpoints", _POLLED_ROUTES]
    if plan.context_length is not None:
        arguments += ["--max-model-len", str(plan.context_length)]
    if plan.device == "gpu":
        arguments += ["--gpu-memory-utilization", str(plan.gpu_memory)]
        arguments += (
            ["--kv-cache-memory-bytes", str(plan.kv_cache_bytes)]
            if plan.kv_cache_bytes is not None
            else []
        )
        arguments += ["--tensor-parallel-size", str(plan.gpus)] if plan.gpus > 1 else []
        arguments += ["--enable-sleep-mode"] if plan.sleeps else []
        if plan.graph_sizes:
            arguments += ["--cudagraph-capture-sizes", *map(str, plan.graph_sizes)]
    if plan.chat_template is not None:
        arguments += ["--chat-template", str(plan.chat_template)]
    is_prepared = has_config(plan.base)  # the built-in model may not be, while a run is planned
    if not is_prepared or not _OTHER_SENSES & ModelFolder(plan.base).config.keys():
        # as training renders messages. vLLM would make parts of each for a template that can read
        # parts, and some (Gemma 4's) write those otherwise
        arguments += ["--chat-template-content-format", "string"]
    if plan.allowed_origins:
        # vLLM would allow all of them: the guard names those that are
        arguments += ["--allowed-origins", "[]"]
    if plan.tool_parser:
        arguments += ["--enable-auto-tool-choice", "--tool-call-parser", plan.tool_parser]
    if plan.reasoning_parser:
        arguments += ["--reasoning-parser", plan.reasoning_parser]
    return arguments + plan.extra_args


def kernel_caches() -> dict[str, str]:
    """Where kernels that are compiled once are kept for the next start: most of a first start on a
    GPU is spent compiling."""
    cache = home() / "cache"
    return {
        "VLLM_CACHE_ROOT": str(cache / "vllm"),
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        "TRITON_CACHE_DIR": str(cache / "triton"),
        "FLASHINFER_WORKSPACE_BASE": str(cache),  # it adds .cache/flashinfer
        "CUDA_CACHE_PATH": str(cache / "cuda"),
    }


def has_compiled() -> bool:
    """Whether a server of this home has compiled kernels before."""
    return (Path(kernel_caches()["VLLM_CACHE_ROOT"]) / "torch_compile_cache").is_dir()


def environment(plan: ServerPlan, server_id: str) -> dict[str, str]:
    """vLLM's environment: this process's, the keys, no telemetry, no downloads, no plugins."""
    inherited = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    cpu = (
        {"VLLM_CPU_KVCACHE_SPACE": str(plan.kv_cache_gb), PROMPT_LOGPROBS_ALONE: "1"}
        if plan.device == "cpu"
        else {}
    )
    gpu = {**_memory_measured_once(plan), **_start_method(plan)} if plan.device == "gpu" else {}
    # Its own routes to sleep and wake, among others that only the control key opens (serve.guard).
    sleep = {"VLLM_SERVER_DEV_MODE": "1"} if plan.sleeps else {}
    return {
        **inherited,
        **cpu,
        **gpu,
        **sleep,
        **kernel_caches(),
        REQUEST_LOG_VARIABLE: str(jobs_directory() / server_id / REQUEST_LOG),
        LOG_CONTENT_VARIABLE: "1" if plan.log_content else "0",
        MOST_PINS_VARIABLE: str(plan.max_loras - 1),
        ORIGINS_VARIABLE: " ".join(plan.allowed_origins),
        CLIENT_KEY_VARIABLE: client_key(),
        CONTROL_KEY_VARIABLE: control_key(),
        SERVER_ID_VARIABLE: server_id,
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_CONFIGURE_LOGGING": "1",  # the phases of the start are told from its log
        "VLLM_LOGGING_LEVEL": "INFO",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_PLUGINS": "luthier",  # no other: see serve.vllm_plugin
        "HF_HUB_OFFLINE": "1",
    }


def _start_method(plan: ServerPlan) -> dict[str, str]:
    """Has the engine forked, unless the user's environment says otherwise or the model needs the
    package that a fork must do without."""
    config = ModelFolder(plan.base).config.get("quantization_config")
    method = config.get("quant_method") if isinstance(config, dict) else None
    needs_package = method == TOUCHES_GPU or any(TOUCHES_GPU in word for word in plan.extra_args)
    return {START_METHOD: os.environ.get(START_METHOD) or ("spawn" if needs_package else "fork")}


def _memory_measured_once(plan: ServerPlan) -> dict[str, str]:
    """Has vLLM keep, for the next start, what it measured of a GPU's memory, which takes it a
    third of a start. It finds that by its settings and what is free, among which the share of the
    GPU is not: so only for the usual share."""
    usual = plan.kv_cache_bytes is None and plan.gpu_memory == GPU_MEMORY
    return {"VLLM_ENABLE_STARTUP_PLAN": "1" if usual else "0"}
