"""What a server is to be: the model, its adapters, where it listens, and the vLLM command line and
environment that follow from it."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from jobs.errors import LuthierError
from jobs.home import home, jobs_directory
from jobs.spec import JOB_ID
from models import foreign
from serve.guard import (
    CLIENT_KEY_VARIABLE,
    CONTROL_KEY_VARIABLE,
    MOST_PINS_VARIABLE,
    ORIGINS_VARIABLE,
    SERVER_ID_VARIABLE,
)
from serve.keys import client_key, control_key
from serve.traffic import LOG_CONTENT_VARIABLE, PROMPT_LOGPROBS_ALONE, REQUEST_LOG_VARIABLE

Device = Literal["cpu", "gpu"]

# the name under which every server serves its base model, whatever the model is called
BASE = "base"
GPU_MEMORY = 0.9  # the share of a GPU that a server takes unless it is told another

DRAIN_SECONDS = 20.0  # how long a stop waits for the answers that are being written
STOP_SECONDS = 15.0  # vLLM needs about 2; then it is killed
REQUEST_LOG = "requests.jsonl"

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
# A third key; and what would have vLLM write into its log what people say.
_NOT_INHERITED = (
    "VLLM_API_KEY",
    "VLLM_DEBUG_LOG_API_SERVER_RESPONSE",
    "VLLM_LOGGING_CONFIG_PATH",
    "VLLM_SERVER_DEV_MODE",
)
_POLLED_ROUTES = "/health,/metrics,/v1/models,/luthier/server"


@dataclass(frozen=True)
class ServedAdapter:
    """An adapter and the name it is served under. `run` is the id of the run that made it, if one
    did."""

    name: str
    path: Path
    run: str | None = None


@dataclass(frozen=True)
class ServerPlan:
    """Everything that decides how vLLM is started. It holds no keys.

    `kv_cache_bytes` is given for a GPU that is partly in use: `gpu_memory` is then what is free of
    it. `graph_sizes` are the numbers of tokens a step for which vLLM records CUDA graphs; none
    leaves them to vLLM. `chat_template` is a file where training used another template than the
    base model's.
    `reasons` say, by the name of a field, why it is so; `notes`, by the name of an adapter, what a
    person should know of it. Web pages of `allowed_origins` may ask the server.
    """

    base: Path
    base_name: str
    adapters: list[ServedAdapter]
    host: str
    port: int
    max_lora_rank: int
    max_loras: int
    dtype: str
    context_length: int | None
    device: Device = "cpu"
    gpus: int = 1
    kv_cache_gb: int = 1
    gpu_memory: float = GPU_MEMORY
    extra_args: list[str] = field(default_factory=list)
    kv_cache_bytes: int | None = None
    graph_sizes: list[int] = field(default_factory=list)
    chat_template: Path | None = None
    can_sleep: bool = True
    generation_config: str = "vllm"
    tool_parser: str = ""
    reasoning_parser: str = ""
    log_content: bool = False
    reasons: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    allowed_origins: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The names of the base model."""
        return [BASE] if self.base_name == BASE else [BASE, self.base_name]

    @property
    def sleeps(self) -> bool:
        """Whether it can free its GPU and take it again, with vLLM's sleep mode."""
        return not self.why_sleepless

    @property
    def why_sleepless(self) -> str:
        """Why it cannot sleep; empty if it can."""
        if self.device == "cpu":  # vLLM answers 200 there, and all later requests hang
            return (
                "vLLM's sleep mode is for GPUs: on a CPU it would free nothing, and the server"
                " would not answer any more."
            )
        return "" if self.can_sleep else "It was started with --no-sleep."

    @property
    def warning(self) -> str:
        """What a person should know before the server starts; empty if there is nothing."""
        if is_loopback(self.host):
            return ""
        return (
            f"Listening on {self.host}: other machines can reach this server, without TLS. Whoever"
            " has the client key can use it."
        )

    def to_json(self) -> dict[str, Any]:
        values = {**asdict(self), "base": str(self.base), "warning": self.warning}
        values["chat_template"] = None if self.chat_template is None else str(self.chat_template)
        values["adapters"] = [
            {**asdict(adapter), "path": str(adapter.path)} for adapter in self.adapters
        ]
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ServerPlan:
        return foreign.convert(values, cls, "the server's settings")


def is_loopback(host: str) -> bool:
    """Whether a server that listens there is for this machine only."""
    return host in _LOOPBACK or host.startswith("127.")


def run_of(path: Path) -> str | None:
    """The id of the job whose folder holds `path`, if one does."""
    jobs = jobs_directory().resolve()
    if not path.resolve().is_relative_to(jobs):
        return None
    parts = path.resolve().relative_to(jobs).parts
    return parts[0] if parts and JOB_ID.fullmatch(parts[0]) else None


def vllm_module() -> str:
    """The module that starts vLLM's server in this interpreter, found without importing vLLM."""
    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        raise LuthierError(
            "vLLM is not installed",
            "This interpreter has no package vllm.",
            "`make install` installs it; `luthier doctor` tells what is missing.",
        )
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
    arguments += ["--enable-lora", "--max-lora-rank", str(plan.max_lora_rank)]
    arguments += ["--max-loras", str(plan.max_loras), "--max-cpu-loras", str(2 * plan.max_loras)]
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
    gpu = _memory_measured_once(plan) if plan.device == "gpu" else {}
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


def _memory_measured_once(plan: ServerPlan) -> dict[str, str]:
    """Has vLLM keep, for the next start, what it measured of a GPU's memory, which takes it a
    third of a start. It finds that by its settings and what is free, among which the share of the
    GPU is not: so only for the usual share."""
    usual = plan.kv_cache_bytes is None and plan.gpu_memory == GPU_MEMORY
    return {"VLLM_ENABLE_STARTUP_PLAN": "1" if usual else "0"}
