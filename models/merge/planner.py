"""Turns the base's tensors into pieces of the merged model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from models.merge.adapter_tensors import FLOATS, ModuleParts, refusal, scaling
from models.merge.embeddings import (
    Embeddings,
    find_embeddings,
    is_input,
    is_output,
    same,
    tied_source,
)
from models.merge.experts import ExpertChange, is_transposed
from models.merge.tensor_recipes import Lora, Make, Piece, Rows
from models.weights import TensorEntry

Into = Literal["base", "dequantised"]
# Models whose layers are transformers' Conv1D: their weights lie the other way round, (in, out).
_CONV1D_MODELS = ("gpt2", "openai-gpt", "imagegpt", "decision_transformer", "clvp")
_EXPERTS = (".experts.", ".router.", ".gate.weight")
_DAMAGED = "The adapter is damaged, or belongs to another model."


class Planner:
    """Plans tensor by tensor, and remembers which of the adapter's were used.

    `tied` is what the merged model's config must say of tying; None where it stays as it was.
    """

    def __init__(
        self,
        adapter: dict[str, Any],
        config: dict[str, Any],
        tensors: dict[str, TensorEntry],
        modules: dict[str, ModuleParts],
        into: Into,
        dtype: str | None,
        experts: dict[str, ExpertChange],
    ) -> None:
        self.tied: bool | None = None
        self._adapter, self._config, self._modules, self._into, self._dtype = (
            adapter,
            config,
            modules,
            into,
            dtype,
        )
        self._experts = experts
        self._used: set[str] = set()
        self._head: Make | None = None
        self._embeddings = find_embeddings(config, tensors, modules)
        if self._embeddings and self._embeddings.tied:
            self._part_or_keep(self._embeddings, tensors)
        if into == "dequantised":
            self._check_quantisable(tensors.values())

    def pieces(self, base: TensorEntry) -> list[Piece]:
        """What stands in the merged model where the base has this tensor."""
        module, _, parameter = base.name.rpartition(".")
        places = self._embeddings
        dtype = self._dtype if self._dtype and base.dtype in FLOATS else base.dtype
        if self.tied is not None and places is not None and base.name == f"{places.output}.weight":
            if self._head is None:
                return [Piece(base.name, Make(base), base, dtype, dropped=True)]
            head_make = (
                replace(self._head, source=base)
                if self._head.source.same_bytes(base)
                else self._head
            )
            return [Piece(base.name, head_make, base, dtype)]
        make = self._make(module, parameter, base)
        if make != Make(base) and base.dtype not in FLOATS:
            raise refusal(
                base.name,
                f"the base has it as {base.dtype}",
                f"Luthier can change {', '.join(FLOATS)}.",
            )
        pieces = [
            Piece(
                base.name,
                make,
                base,
                dtype,
                quantised=make.source is base and self._is_quantised(base),
            )
        ]
        if (
            self._head is not None
            and places is not None
            and module == places.input
            and parameter == "weight"
            and not places.output_in_base
        ):
            pieces.append(Piece(f"{places.output}.weight", self._head, base, dtype, added=True))
        return pieces

    def check_all_used(self, base: Path) -> None:
        """LuthierError if a tensor of the adapter went nowhere."""
        of_experts = {change.parts.name: change.parts for change in self._experts.values()}
        for module, parts in (self._modules | of_experts).items():
            for entry in parts.entries():
                if entry.name not in self._used:
                    parameter = (
                        "bias" if entry is parts.lora_bias else entry.name.rpartition(".")[2]
                    )
                    raise refusal(
                        entry.name, f"the model in {base} has no {module}.{parameter}", _DAMAGED
                    )

    def vocabulary(self, pieces: Iterable[Piece]) -> int | None:
        """The number of rows that both embeddings have in the merged model if it is not the base's.
        LuthierError if they differ."""
        if self._embeddings is None:
            return None
        names = (f"{self._embeddings.input}.weight", f"{self._embeddings.output}.weight")
        sides = [piece for piece in pieces if piece.name in names and not piece.dropped]
        rows = {piece.name: piece.shape[0] for piece in sides}
        if len(set(rows.values())) > 1:
            counts = " and ".join(f"{name} {count}" for name, count in rows.items())
            raise refusal(
                names[0],
                f"the rows of the two embeddings would differ: {counts}",
                "The adapter contains only one of the two resized embeddings.",
            )
        return next(
            (
                piece.shape[0]
                for piece in sides
                if piece.base is not None and piece.shape[0] != piece.base.shape[0]
            ),
            None,
        )

    def _part_or_keep(self, places: Embeddings, tensors: dict[str, TensorEntry]) -> None:
        """Decide whether one tensor can still be both embeddings; if not, `_head` is how the output
        comes about."""
        shared = tensors[f"{places.input}.weight"]
        inside = self._make(places.input, "weight", shared)
        saved_modules = [str(name) for name in self._adapter.get("modules_to_save") or []]
        saved = any(f".{places.input}".endswith(f".{name}") for name in saved_modules)
        begins = tied_source(self._modules.get(places.input), saved, shared)
        head = self._modules.get(places.output)
        outside = self._make(places.output, "weight", begins)
        # PEFT gives tied layers the same trained rows
        if head is None or ("weight" not in head.saved and head.rows is None):
            outside = Make(outside.source, outside.lora, inside.rows)
        self.tied = same(inside, outside)
        self._head = None if self.tied else outside

    def _make(self, module: str, parameter: str, base: TensorEntry) -> Make:
        """How one parameter of a module comes about."""
        if base.name in self._experts:
            return Make(base, self._of_experts(self._experts[base.name], base))
        parts = self._modules.get(module)
        if parts is None:
            return Make(base)
        source = self._source(parts, parameter, base)
        lora, rows, shift = None, None, None
        if parameter == "weight":
            lora, rows = self._lora(parts, source), self._rows(parts, source)
        elif parameter == "bias" and parts.lora_bias is not None and parts.lora_a is not None:
            if parts.lora_bias.shape != source.shape:
                raise refusal(
                    parts.lora_bias.name,
                    f"its shape is {list(parts.lora_bias.shape)}, but the bias has"
                    f" {list(source.shape)}",
                    _DAMAGED,
                )
            shift = (parts.lora_bias, scaling(self._adapter, parts.name, parts.lora_a.shape[0]))
            self._used.add(parts.lora_bias.name)
        return Make(source, lora, rows, shift)

    def _source(self, parts: ModuleParts, parameter: str, base: TensorEntry) -> TensorEntry:
        """The base's tensor, or what the adapter has in its place."""
        saved = parts.saved.get(parameter) or parts.frozen.get(parameter)
        if saved is None:
            return base
        self._used.update(
            entry.name
            for entry in (parts.saved.get(parameter), parts.frozen.get(parameter))
            if entry is not None
        )
        resizable = parameter == "weight" and (is_input(parts.name) or is_output(parts.name))
        if saved.shape != base.shape and not (
            resizable and len(saved.shape) == 2 and saved.shape[1:] == base.shape[1:]
        ):
            raise refusal(
                saved.name,
                f"its shape is {list(saved.shape)}, but the base has {list(base.shape)}",
                _DAMAGED,
            )
        return base if saved.same_bytes(base) else saved

    def _lora(self, parts: ModuleParts, weight: TensorEntry) -> Lora | None:
        embedding = parts.embedding_a is not None
        a, b = (parts.embedding_a, parts.embedding_b) if embedding else (parts.lora_a, parts.lora_b)
        if a is None or b is None:
            return None
        if a.shape[0] != b.shape[1]:
            raise refusal(
                a.name,
                f"its rank is {a.shape[0]}, but its other half has rank {b.shape[1]}",
                _DAMAGED,
            )
        change = (b.shape[0], a.shape[1])  # of B@A: (out, in)
        straight, across = (
            not embedding and weight.shape == change,
            weight.shape == (change[1], change[0]),
        )
        if straight and across:
            across = not is_output(parts.name) and (
                self._config.get("model_type") in _CONV1D_MODELS
                or bool(self._adapter.get("fan_in_fan_out"))
            )
        elif not straight and not across:
            raise refusal(
                a.name,
                f"it changes a weight of shape {list(change)}, but {weight.name} has"
                f" {list(weight.shape)}",
                _DAMAGED,
            )
        magnitude = parts.magnitude
        if (magnitude is not None) != bool(self._adapter.get("use_dora")):
            raise refusal(
                (magnitude or a).name,
                "use_dora in adapter_config.json contradicts the magnitude vectors",
                _DAMAGED,
            )
        if magnitude is not None and magnitude.shape != (change[0],):
            raise refusal(
                magnitude.name, f"its shape is {list(magnitude.shape)}, not {[change[0]]}", _DAMAGED
            )
        self._used.update(entry.name for entry in (a, b, magnitude) if entry is not None)
        return Lora(a, b, scaling(self._adapter, parts.name, a.shape[0]), across, magnitude)

    def _of_experts(self, change: ExpertChange, weight: TensorEntry) -> Lora:
        a, b, experts = change.parts.lora_a, change.parts.lora_b, change.experts
        if a is None or b is None:
            raise refusal(
                change.parts.any_entry().name, "LoRA on experts has only A and B", _DAMAGED
            )
        rank = a.shape[0] // experts.count
        if (rank * experts.count, b.shape[1]) != (a.shape[0], a.shape[0]):
            raise refusal(
                a.name,
                f"its {a.shape[0]} rows and the {b.shape[1]} columns of {b.name} do not divide into"
                f" {experts.count} experts of one rank",
                _DAMAGED,
            )
        last = b.shape[0] if experts.last is None else experts.last
        # of one expert, or of each
        of_part = (last - experts.first, a.shape[1])
        sides = weight.shape[-2:]
        straight, across = sides == of_part, sides == (of_part[1], of_part[0])
        if straight and across:
            across = is_transposed(self._config.get("model_type"))
        elif not straight and not across:
            raise refusal(
                a.name,
                f"it fits a weight of shape {list(of_part)}, but {weight.name} has {list(sides)}",
                _DAMAGED,
            )
        self._used |= {a.name, b.name}
        scale = scaling(self._adapter, change.name, rank)
        return Lora(a, b, scale, across, experts=experts)

    def _rows(self, parts: ModuleParts, weight: TensorEntry) -> Rows | None:
        if parts.rows is None:
            return None
        self._used.add(parts.rows.name)
        listed = self._adapter.get("trainable_token_indices")
        if isinstance(listed, dict):
            listed = next(
                (value for name, value in listed.items() if f".{parts.name}".endswith(f".{name}")),
                None,
            )
        indices = [int(index) for index in listed or []]
        if parts.rows.shape != (len(indices), weight.shape[-1]):
            message = (
                f"its shape is {list(parts.rows.shape)}, for {len(indices)} tokens of width"
                f" {weight.shape[-1]}"
            )
            raise refusal(parts.rows.name, message, _DAMAGED)
        behind = set(range(weight.shape[0], max(indices, default=0) + 1))
        if min(indices, default=0) < 0 or not behind <= set(indices):
            message = (
                f"it trains tokens beyond the end of the embedding ({weight.shape[0]} rows) and"
                " leaves gaps"
            )
            raise refusal(
                parts.rows.name,
                message,
                "Save the adapter with its resized embedding:"
                " save_pretrained(save_embedding_layers=True).",
            )
        return Rows(parts.rows, tuple(indices))

    def _check_quantisable(self, tensors: Iterable[TensorEntry]) -> None:
        hint = "Use the default, --into base."
        if self._config.get("model_type") in _CONV1D_MODELS:
            raise refusal(
                next(iter(tensors)).name,
                "Luthier does not compute 4-bit values for Conv1D layers",
                hint,
            )
        for entry in tensors:
            if any(part in entry.name for part in _EXPERTS):
                raise refusal(
                    entry.name,
                    "Luthier does not know which parts of a mixture of experts were quantised",
                    hint,
                )

    def _is_quantised(self, base: TensorEntry) -> bool:
        """Whether bitsandbytes would have had it in 4 bits: the weights of all linear layers but
        the head."""
        module, _, parameter = base.name.rpartition(".")
        layer = len(base.shape) == 2 and parameter == "weight" and base.dtype in FLOATS
        return (
            self._into == "dequantised" and layer and not is_input(module) and not is_output(module)
        )
