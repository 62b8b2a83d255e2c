"""Planning a server: everything that can be wrong is found, and everything that is chosen is told,
before anything starts."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from jobs.files import expanded, write_atomic
from jobs.foreign_json import Damaged
from jobs.gpus import Gpu, gpus
from jobs.home import home
from jobs.job import Job, all_jobs
from jobs.luthier_error import LuthierError
from jobs.state import Asleep, Queued, Running, Starting
from models.adapters import Adapter, check_servable, lora_rank_limit, other_base, read_adapter
from models.folder import ModelFolder, templates_differ
from models.registry import display_name
from models.runs import LONGEST_MODEL_NAME, MODEL_NAME
from models.vllm_models import on_cpu, why_no_adapters
from serve.gpu_share import gpu_share, needed
from serve.parsers import NONE, parsers
from serve.plan import BASE, GPU_MEMORY, Device, ServedAdapter, ServerPlan, run_of
from serve.ports import choose_port
from serve.vllm_arguments import read_arguments, uses_ray

_CPU_CONTEXT_LENGTH = 4096  # a longer one takes minutes to read in on a CPU
_ROOM_FOR_RANK = 16  # adapters up to this rank can be added later
_ROOM_FOR_ADAPTERS = 4  # and as many as this can answer at once

# With one of these, what the weights and the cache take cannot be told from the files.
_OTHER_MEMORY = {"quantization", "cpu_offload_gb", "kv_cache_dtype", "pipeline_parallel_size"}
# Every size is recorded at every start, four times: with and without adapters, in pieces and whole.
# vLLM's 51 lie 8 or 16 apart; a step is padded to the next one. Up to 64 these are vLLM's, so that
# as many answers are written as quickly; a larger step is padded by half at most.
_GRAPH_SIZES = (1, 2, 4, *range(8, 65, 8), 96, 128, 192, 256, 384, 512)
# With one of these the user, or vLLM by it, decides which are recorded.
_OTHER_GRAPHS = {
    "cudagraph_capture_sizes",
    "max_cudagraph_capture_size",
    "compilation_config",
    "optimization_level",
    "performance_mode",
    "enforce_eager",
    "speculative_config",
    "max_num_seqs",
    "max_num_batched_tokens",
}

NamedAdapter = tuple[str, Path, str | None]


@dataclass(frozen=True)
class ServeOptions:
    """What a user may choose beside the model; None and "auto" leave it to the plan.

    `gpus` is how many GPUs share the model, `gpu` the number of the one to use. `gpu_memory` is the
    share of each GPU's memory that vLLM takes, `kv_cache_gb` what it takes on a CPU for the
    conversations. `python` is the interpreter that has vLLM. A parser named "none" is none.
    `beside_bytes` of each GPU are left to a job that is about to take them. `kept_by` is the
    certificate that starts the server: it ends by itself if nobody comes for it.
    """

    device: Device | None = None
    gpus: int = 1
    gpu: int | None = None
    dtype: str = "auto"
    context_length: int | None = None
    max_lora_rank: int | None = None
    max_loras: int | None = None
    kv_cache_gb: int = 1
    gpu_memory: float = GPU_MEMORY
    extra_args: list[str] = field(default_factory=list)
    python: str = sys.executable
    tool_parser: str | None = None
    reasoning_parser: str | None = None
    generation_config: str = "vllm"
    log_content: bool = False
    can_sleep: bool = True
    allowed_origins: tuple[str, ...] = ()
    beside_bytes: int = 0
    kept_by: str = ""


@dataclass(frozen=True)
class Refused:
    """An adapter that vLLM cannot load into the server as it is, and what to do about it."""

    name: str
    path: Path
    error: LuthierError


@dataclass(frozen=True)
class Outlook:
    """What would be started, and which of the adapters that were asked for would not be in it."""

    plan: ServerPlan
    refused: list[Refused]


def make_plan(
    directory: Path,
    name: str,
    adapters: list[NamedAdapter],
    host: str,
    port: int | None,
    options: ServeOptions,
) -> ServerPlan:
    """The plan of a server, checked: names, adapters, extra arguments, port. LuthierError at the
    first adapter that cannot be served."""
    outlook = look_ahead(directory, name, adapters, host, port, options)
    if outlook.refused:
        raise outlook.refused[0].error
    return outlook.plan


def look_ahead(
    directory: Path,
    name: str,
    adapters: list[NamedAdapter],
    host: str,
    port: int | None,
    options: ServeOptions,
    planned_rank: int = 0,
) -> Outlook:
    """The same, with the adapters that cannot be served told beside it. `planned_rank` is that of
    an adapter yet to be trained."""
    base_names = filter(MODEL_NAME.fullmatch, (name, display_name(directory)))
    base_name = next(base_names, BASE)
    check_names([adapter_name for adapter_name, _, _ in adapters], {BASE, base_name})
    found, refused = _sorted(adapters, directory)
    read_arguments(options.extra_args)
    device = options.device or default_device()
    served = [
        ServedAdapter(adapter_name, adapter.directory, run or run_of(adapter.directory))
        for adapter_name, adapter, run in found
    ]
    ranks = [planned_rank, *(adapter.rank for _, adapter, _ in found)]
    rank = lora_rank_limit(options.max_lora_rank or max(_ROOM_FOR_RANK, *ranks))
    max_loras = options.max_loras or max(_ROOM_FOR_ADAPTERS, len(adapters))
    context = options.context_length or default_context_length(directory, device)
    utilization, cache, memory = _memory(directory, device, options, rank, max_loras, context)
    tools, reasoning = parsers(directory)
    template = _template([adapter for _, adapter, _ in found], directory)
    graph_sizes, graphs = _graph_sizes(device, options.extra_args)
    no_adapters = why_no_adapters(directory)
    plan = ServerPlan(
        base=directory,
        base_name=base_name,
        adapters=served,
        host=host,
        port=choose_port(host, port, [other.port for _, other in living_servers()]),
        max_lora_rank=rank,
        max_loras=max_loras,
        dtype="bfloat16" if device == "cpu" and options.dtype == "auto" else options.dtype,
        context_length=context,
        device=device,
        gpus=options.gpus,
        kv_cache_gb=options.kv_cache_gb,
        gpu_memory=utilization,
        extra_args=list(options.extra_args),
        kv_cache_bytes=cache,
        graph_sizes=graph_sizes,
        chat_template=template,
        generation_config=options.generation_config,
        tool_parser=_chosen(options.tool_parser, tools.name),
        reasoning_parser=_chosen(options.reasoning_parser, reasoning.name),
        log_content=options.log_content,
        can_sleep=options.can_sleep and not uses_ray(options.extra_args),
        reasons={
            "adapters": _why_adapters(max_loras, no_adapters),
            "max_lora_rank": _why_rank(rank, max(ranks)),
            "memory": memory,
            "graph_sizes": graphs,
            "context_length": _why_context(context, options.context_length is not None, device),
            "chat_template": (
                "the adapters were trained with a template that differs from the base model's"
                if template
                else "the base model's"
            ),
            "generation_config": _why_sampling(options.generation_config),
            "tool_parser": tools.why if options.tool_parser is None else "asked for",
            "reasoning_parser": reasoning.why if options.reasoning_parser is None else "asked for",
        },
        allowed_origins=_checked_origins(options.allowed_origins),
        why_no_adapters=no_adapters,
        kept_by=options.kept_by,
        notes={
            adapter_name: note
            for adapter_name, adapter, _ in found
            if (note := other_base(adapter, directory))
        },
    )
    return Outlook(plan, refused)


def servable(path: Path, base: Path) -> Adapter:
    """The adapter in a folder. LuthierError if vLLM cannot load it into a server of this base."""
    adapter = read_adapter(expanded(path).resolve())
    check_servable(adapter, base)
    return adapter


def check_names(names: list[str], taken: set[str]) -> None:
    for name in names:
        if not MODEL_NAME.fullmatch(name):
            message = (
                f"{name!r} may contain only letters, digits, dots, hyphens, underscores and @,"
                f" and at most {LONGEST_MODEL_NAME} of them."
            )
            raise LuthierError("Not a name for a model", message, "Give the adapter another name.")
        if name in taken:
            raise LuthierError(
                "The name is taken",
                f"Another model on this server is named {name!r}.",
                "Give the adapter another name.",
            )
        taken = {*taken, name}


def living_servers() -> list[tuple[Job, ServerPlan]]:
    """The servers that run, start or wait for their turn."""
    living = (Queued, Starting, Running, Asleep)
    found = []
    for job in all_jobs("server"):
        if isinstance(job.state(), living):
            with suppress(Damaged):  # made by hand: it says so itself when it starts
                found.append((job, ServerPlan.from_json(job.spec.settings)))
    return found


def default_device() -> Device:
    """The GPU, if there is one and this interpreter's vLLM is not the one for CPUs."""
    return "gpu" if gpus() and not on_cpu() else "cpu"


def template_of(adapter: Adapter, base: Path) -> str | None:
    """The chat template that an adapter was trained with, if it is another one than the base
    model's."""
    template = ModelFolder(adapter.directory).chat_template
    differs = templates_differ(template, ModelFolder(base).chat_template)
    return template if differs else None


def _sorted(
    adapters: list[NamedAdapter], base: Path
) -> tuple[list[tuple[str, Adapter, str | None]], list[Refused]]:
    found, refused = [], []
    for name, path, run in adapters:
        try:
            found.append((name, servable(path, base), run))
        except LuthierError as error:
            refused.append(Refused(name, path, error))
    return found, refused


def _template(adapters: list[Adapter], base: Path) -> Path | None:
    """A file with the template that all these adapters were trained with; None where it is the base
    model's own."""
    own = {adapter.directory: template_of(adapter, base) for adapter in adapters}
    texts = set(own.values())
    if not texts - {None}:
        return None
    if len(texts) > 1:
        message = ", ".join(
            f"{directory} {'another one' if text else 'that of the base model'}"
            for directory, text in own.items()
        )
        hint = "A server has only one template: serve each adapter on a separate --port."
        raise LuthierError(
            "Different chat templates",
            f"These adapters were trained with different templates: {message}.",
            hint,
        )
    text = str(texts.pop())
    path = (
        home()
        / "cache"
        / "templates"
        / f"{blake2b(text.encode(), digest_size=8).hexdigest()}.jinja"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        write_atomic(path, text)
    return path


def _memory(
    base: Path,
    device: Device,
    options: ServeOptions,
    rank: int,
    max_loras: int,
    context: int | None,
) -> tuple[float, int | None, str]:
    """The share of a GPU, the bytes of its cache where they must be given, and why."""
    if device == "cpu":
        return (
            options.gpu_memory,
            None,
            f"{options.kv_cache_gb} GiB of main memory for conversations, in addition to the"
            " weights",
        )
    found = _gpus_for(options)
    if not found:
        return options.gpu_memory, None, "Luthier sees no GPU: vLLM decides"
    if not _OTHER_MEMORY.isdisjoint(read_arguments(options.extra_args)):
        return (
            options.gpu_memory,
            None,
            (
                f"{options.gpu_memory:.0%} of the GPU; with these arguments only vLLM knows how"
                " much it needs"
            ),
        )
    longest = context or ModelFolder(base).context_length or _CPU_CONTEXT_LENGTH
    share = gpu_share(
        found, options.gpu_memory, needed(base, rank, max_loras), longest, options.beside_bytes
    )
    return share.utilization, share.kv_cache_bytes, share.why


def _graph_sizes(device: Device, extra_args: Sequence[str]) -> tuple[list[int], str]:
    """The numbers of tokens a step for which vLLM records CUDA graphs, none where it decides, and
    why."""
    if device == "cpu":
        return [], "a CPU has none"
    if not _OTHER_GRAPHS.isdisjoint(read_arguments(extra_args)):
        return [], "vLLM's own choice, with these arguments"
    why = "for a fast start; --vllm=--max-cudagraph-capture-size=512 records all 51 of vLLM's sizes"
    return list(_GRAPH_SIZES), why


def _gpus_for(options: ServeOptions) -> list[Gpu]:
    """The GPUs that the server would get: the one named, else those with the most free memory."""
    found = gpus()
    if options.gpu is not None:
        return [gpu for gpu in found if gpu.index == options.gpu]
    return sorted(found, key=lambda gpu: -gpu.free)[: options.gpus]


def default_context_length(directory: Path, device: Device) -> int | None:
    """None leaves it to vLLM, which takes what the model can."""
    if device == "gpu":
        return None
    return min(ModelFolder(directory).context_length or _CPU_CONTEXT_LENGTH, _CPU_CONTEXT_LENGTH)


def _checked_origins(origins: Sequence[str]) -> list[str]:
    for origin in origins:
        if not re.fullmatch(r"https?://[^\s/?#]+", origin):
            hint = (
                "Write it as the browser does: scheme, host and port, such as"
                " http://localhost:3000."
            )
            raise LuthierError(
                "Not an origin", f"{origin!r} is not the origin of a web page.", hint
            )
    return list(origins)


def _chosen(asked: str | None, known: str) -> str:
    return "" if asked == NONE else asked or known


def _why_rank(limit: int, highest: int) -> str:
    if highest == 0:
        return f"room for adapters up to rank {limit} later"
    return f"the highest rank is {highest}" + (
        "" if highest == limit else f"; vLLM's next limit is {limit}"
    )


def _why_adapters(count: int, hindrance: str) -> str:
    if hindrance:
        return hindrance
    return f"{2 * count} stay in memory; vLLM reads the others again when a request needs them"


def _why_context(context: int | None, asked: bool, device: Device) -> str:
    if asked:
        return "asked for"
    if context is None:
        return "what the model can"
    return "a CPU takes minutes to read a longer prompt" if device == "cpu" else "what fits"


def _why_sampling(source: str) -> str:
    return (
        "vLLM's neutral defaults: each request sets its own sampling"
        if source == "vllm"
        else "the model's own defaults for temperature and the like"
    )
