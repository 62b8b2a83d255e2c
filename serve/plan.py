"""What a server is to be: the model, its adapters, where it listens. serve.vllm_command has the
command line and the environment that follow from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from jobs.home import jobs_directory
from jobs.spec import JOB_ID
from models import foreign

Device = Literal["cpu", "gpu"]

# the name under which every server serves its base model, whatever the model is called
BASE = "base"
GPU_MEMORY = 0.9  # the share of a GPU that a server takes unless it is told another

DRAIN_SECONDS = 20.0  # how long a stop waits for the answers that are being written
STOP_SECONDS = 15.0  # vLLM needs about 2; then it is killed
REQUEST_LOG = "requests.jsonl"

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


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
    `kept_by` is the id of the certificate that has started it (serve.keeping); empty for others.
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
    why_no_adapters: str = ""
    """Why the server takes no adapters, "" if it does: vLLM then starts without its LoRA."""
    kept_by: str = ""

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
                " would stop answering."
            )
        return "" if self.can_sleep else "It was started with --no-sleep."

    @property
    def warning(self) -> str:
        """What a person should know before the server starts; empty if there is nothing."""
        if is_loopback(self.host):
            return ""
        return (
            f"Listening on {self.host}: other machines can reach this server, without TLS. Anyone"
            " with the client key can use it."
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
