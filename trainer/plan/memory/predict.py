"""The peak of a run's tensor memory, part by part, from what each engine keeps for the backward
pass.

What a layer keeps was counted in the engines' sources and agrees with the peaks measured on an H200
(bench/gpu/RESULTS.md; the table with predictions is in bench/RESULTS.md). What the backward pass of
one layer needs besides (_Kept.working) was fitted; what dropout and the adapter of a quantised base
keep was corrected after a measurement of each.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from trainer import teacher
from trainer.plan.compute import Compute
from trainer.plan.lora_targets import ALL_LINEAR
from trainer.plan.memory.shape import FUSED, ModelShape
from trainer.recipe import Recipe

# CUDA's context and the libraries' workspaces, which PyTorch does not count among its own
CONTEXT = 1 << 30
# nf4: 4 bits, 8 for the scale of 64 weights, 32 for that of 256 scales. LLM.int8: the scales of
# rows are little.
_BASE_BYTES = {32: 4.0, 16: 2.0, 8: 1.0, 4: 0.5 + 1 / 64 + 4 / (64 * 256)}
# Bytes of Adam's two moments for a weight of 4 bytes; paged ones leave the GPU when there is no
# room.
_MOMENT_BYTES = {"adamw": 8.0, "adamw_8bit": 2.0, "paged_adamw_8bit": 0.0, "paged_adamw_32bit": 0.0}
_TRL_CHUNK = 256  # tokens whose logits TRL 1.14.2's loss has at once
_TRL_LOGIT_BYTES = 16  # a logit in 16 and 32 bits, its log-softmax and its gradient
_UNSLOTH_LOGIT_BYTES = 2  # a compiled kernel keeps one in 16 bits
# Unsloth cuts so that this many suffice at 16 bytes a logit, into a multiple of four pieces
_UNSLOTH_CHUNK_BYTES = 4 << 30
_FULL_LOGIT_BYTES = 12
# trainer.kernels.head_loss, the loss on a CPU: a logit and its gradient in 32 bits, and either one
# in the type that is computed with
_CPU_CHUNK = 128
_CPU_LOGIT_BYTES = 8


@dataclass(frozen=True)
class Setting:
    """What decides a run's memory beside its model."""

    engine: str
    tokens: int
    """Of the largest micro-batch as the model sees it, padding counted."""
    compute: Compute = field(default_factory=Compute)
    rows: int = 1
    """In how many rows these tokens lie; 1 where padding-free."""
    conversations: int = 1
    """Of the micro-batch."""
    method: str = "lora"
    rank: int = 16
    targets: str | tuple[str, ...] = ALL_LINEAR
    experts: bool = False
    """Whether LoRA goes on experts, too."""
    dropout: bool = False
    sdpa_by: Literal["batch", "conversation", "segment"] = "batch"
    """What sdpa goes over at a time where conversations lie behind each other."""
    loss: Literal["chunked", "single pass", "full"] = "chunked"
    """"chunked": the engine's own; "single pass": that on a CPU; "full": logits of all tokens at
    once."""
    sides: int = 1
    """Rows of a sample: a pair has two."""
    keeps_reference: bool = False
    """Whether a frozen copy of the adapter is kept."""
    teacher_bytes: int = 0
    """Of a teacher's weights beside the model's."""

    @classmethod
    def of(cls, recipe: Recipe, engine: str, compute: Compute, device: str = "gpu") -> Setting:
        """Without a batch yet: see `holding`."""
        targets = recipe.lora.targets
        chunked: Literal["chunked", "single pass"] = "single pass" if device == "cpu" else "chunked"
        return cls(
            engine=engine,
            tokens=0,
            compute=compute,
            method=recipe.train.method,
            rank=recipe.lora.r,
            targets=targets if isinstance(targets, str) else tuple(targets),
            experts=recipe.lora.experts,
            dropout=recipe.lora.dropout > 0 or recipe.lora.dora,
            loss=chunked if recipe.objective.kind == "sft" else "full",
            sides=2 if recipe.objective.scoring == "pairs" else 1,
            keeps_reference=recipe.objective.scoring != "turns" and recipe.train.method == "lora",
            teacher_bytes=teacher.weight_bytes(recipe),
        )

    @property
    def compute_bytes(self) -> int:
        """Of a number that is computed with."""
        return 4 if self.compute.compute_dtype == "float32" else 2

    def holding(self, tokens: int, conversations: int) -> Setting:
        """With a batch of Luthier's own: in flat ones sdpa goes by conversation, without a mask
        (trainer.kernels.attention). Of pairs `tokens` are those of one side."""
        tokens, conversations = self.sides * tokens, self.sides * conversations
        rows = 1 if self.compute.padding_free else conversations
        by_conversation = (
            rows == 1
            and conversations > 1
            and self.compute.attention == "sdpa"
            and self.engine == "trl"
        )
        return replace(
            self,
            tokens=tokens,
            rows=rows,
            conversations=conversations,
            sdpa_by="conversation" if by_conversation else self.sdpa_by,
        )


@dataclass(frozen=True)
class Memory:
    """Bytes of a run's parts at its peak. `working` is what the backward pass of one layer, or the
    loss, needs for a moment."""

    weights: int
    adapter: int
    gradients: int
    optimizer: int
    activations: int
    attention_mask: int
    working: int

    @property
    def peak(self) -> int:
        """The most that tensors take at once (trainer.run.tensor_memory)."""
        return sum(self.parts().values())

    @property
    def fixed(self) -> int:
        """What no batch changes."""
        return self.weights + self.adapter + self.gradients + self.optimizer

    def parts(self) -> dict[str, int]:
        return {
            "weights": self.weights,
            "adapter": self.adapter,
            "gradients": self.gradients,
            "optimizer": self.optimizer,
            "activations": self.activations,
            "attention mask": self.attention_mask,
            "working space": self.working,
        }


@dataclass(frozen=True)
class _Kept:
    """Numbers a token: what a layer keeps for its backward pass, and what that pass needs besides
    for a moment."""

    layer: float
    working: float


def predict(shape: ModelShape, setting: Setting) -> Memory:
    """The parts of the peak of a run on one GPU."""
    compute = setting.compute
    trained = setting.rank * shape.adapter_width(setting.targets, experts=setting.experts)
    wide = compute.base_bits == 32 or setting.compute_bytes == 4
    weights = shape.inside * (4 if wide else _BASE_BYTES[compute.base_bits]) + shape.outside * (
        4 if wide else 2
    )
    if setting.method == "full":
        adapter, width = 0.0, 4.0 if compute.base_bits == 32 else 2.0
        trained = shape.inside + shape.outside
    else:
        # TRL holds QLoRA's adapter in 16 bits
        width = 2.0 if setting.engine == "trl" and compute.base_bits < 16 else 4.0
        adapter = width * trained * (2 if setting.keeps_reference else 1)
    moments = _MOMENT_BYTES[compute.optimizer] * (width / 4 if compute.optimizer == "adamw" else 1)
    kept, masks = _kept(shape, setting), _masks(setting, shape.layers)
    layers = shape.layers if compute.gradient_checkpointing == "none" else 1
    between = {"none": 1, "standard": shape.layers + 1, "unsloth": 1}[
        compute.gradient_checkpointing
    ] * shape.hidden
    activations = setting.compute_bytes * setting.tokens * (layers * kept.layer + between)
    activations += setting.compute_bytes * _changed_experts(shape, setting) * layers / shape.layers
    restored = _gathered(shape, setting) if compute.shards > 1 else _unpacked(shape, setting)
    return Memory(
        weights=round(weights / compute.shards) + setting.teacher_bytes,
        adapter=round(adapter / compute.shards),
        gradients=round(width * trained / compute.shards),
        optimizer=round(moments * trained / compute.shards),
        activations=round(activations),
        attention_mask=masks,
        working=round(
            max(setting.compute_bytes * setting.tokens * kept.working, _loss(shape, setting))
            + restored
        ),
    )


def is_fused(shape: ModelShape, setting: Setting) -> bool:
    """Whether Unsloth's own kernels compute the layers: they keep about half of what transformers
    and PEFT keep."""
    compute = setting.compute
    plain = setting.method == "lora" and compute.base_bits in (4, 16) and not setting.dropout
    return setting.engine == "unsloth" and shape.family in FUSED and plain


def _kept(shape: ModelShape, setting: Setting) -> _Kept:
    """Unsloth: the residual stream twice, both normed inputs, queries, keys, values, the
    attention's output (the bare engine before torch 2.12 has no varlen kernel and keeps its
    segments' too), gate and up; in the backward pass two gradients as wide as those and one as wide
    as the stream. transformers: both norms' inputs in 32 bits, queries, keys and values (with a
    mask as many as queries), the attention's output, gate, its activation, up; PEFT each adapted
    matrix' input once more, and with dropout a byte that says what is left of it. The adapter of a
    quantised base, and any that is sharded, computes in 16 bits: matrices share an input, and
    gradients take half. Full fine-tuning: each different input, and both norms' outputs."""
    hidden, inner, queries, keys = shape.hidden, shape.inner, shape.queries, shape.keys
    if is_fused(shape, setting):
        outputs = 2 if setting.sdpa_by == "segment" else 1
        return _Kept(
            4 * hidden + (1 + outputs) * queries + 2 * keys + 2 * inner, 2 * inner + hidden
        )
    layer = 4.0 * hidden + 2 * queries + 2 * (queries if _masks(setting, 1) else keys) + 3 * inner
    if setting.method == "full":
        return _Kept(layer + 4 * hidden + inner, 4 * inner + 2 * hidden)
    widths = {
        linear.name: min(linear.inputs, max(hidden, inner, queries))
        for linear in shape.adapted(setting.targets, experts=setting.experts)
    }
    inputs = sum(widths.values()) * (1.5 if setting.dropout else 1)
    if setting.compute.base_bits == 16 and setting.compute.shards == 1:
        return _Kept(layer + inputs, 4 * inner + 2 * hidden)
    shared = 2 * hidden + queries + inner
    return _Kept(layer + (inputs if setting.dropout else min(inputs, shared)), 2 * (inner + hidden))


def _changed_experts(shape: ModelShape, setting: Setting) -> int:
    """The weights of experts that PEFT adds their adapter to: each layer keeps the sum until its
    backward pass."""
    if setting.method == "full":
        return 0
    adapted = shape.adapted(setting.targets, experts=setting.experts)
    return sum(linear.count for linear in adapted if linear.of_experts)


def _masks(setting: Setting, layers: int) -> int:
    """sdpa takes a mask of every token against every other as soon as conversations lie behind each
    other or are padded; each layer keeps it in 16 bits. Unsloth, flash and flex need none."""
    compute = setting.compute
    masked = compute.attention == "sdpa" and setting.sdpa_by == "batch"
    if setting.engine == "unsloth" or setting.conversations == 1 or not masked:
        return 0
    length = setting.tokens // setting.rows
    return (
        setting.rows
        * length
        * length
        * (1 + 2 * (layers if compute.gradient_checkpointing == "none" else 1))
    )


def _loss(shape: ModelShape, setting: Setting) -> int:
    """The head's logits for as many tokens as the engine computes at once."""
    if setting.loss == "full":
        return _FULL_LOGIT_BYTES * shape.vocabulary * setting.tokens
    if setting.loss == "single pass":
        logit_bytes = _CPU_LOGIT_BYTES + (2 if setting.compute_bytes == 2 else 0)
        return logit_bytes * shape.vocabulary * min(setting.tokens, _CPU_CHUNK)
    if setting.engine == "trl":
        return _TRL_LOGIT_BYTES * shape.vocabulary * min(setting.tokens, _TRL_CHUNK)
    logits = shape.vocabulary * setting.tokens
    pieces = (
        4 * -(-logits * 16 // (4 * _UNSLOTH_CHUNK_BYTES))
        if logits * 16 > _UNSLOTH_CHUNK_BYTES
        else 1
    )
    return _UNSLOTH_LOGIT_BYTES * logits // max(1, pieces) + 2 * shape.hidden * setting.tokens


def _gathered(shape: ModelShape, setting: Setting) -> float:
    """What a rank has of the others' shards: the weights of the layer that is computed and of the
    next one, embeddings and head, in 16 bits. Where they are trained, also one layer's gradients,
    in 16 bits, and those of two on their way to their shards, in 32: counted in the source of torch
    2.13's fully_shard. The head is a layer of its own there."""
    layer = shape.inside / shape.layers
    gathered = 2 * (2 * layer + shape.outside)
    return gathered + (
        10 * max(layer, shape.vocabulary * shape.hidden) if setting.method == "full" else 0
    )


def _unpacked(shape: ModelShape, setting: Setting) -> int:
    """A quantised matrix is unpacked to be multiplied with; those of full fine-tuning in 32 bits
    are cast, and kept so to the end."""
    compute = setting.compute
    if setting.method == "full" and compute.base_bits == 32:
        return 0 if setting.compute_bytes == 4 else 2 * (shape.inside + shape.outside)
    return 2 * shape.largest if compute.base_bits < 16 else 0
