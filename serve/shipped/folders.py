"""A folder of safetensors, quantised as compressed-tensors or not, as transformers runs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.luthier_error import LuthierError
from models.certificate import Check
from models.folder import ModelFolder
from models.weights import tensor_shapes, weight_files
from serve.shipped.evidence import Evidence, run_commands
from serve.shipped.ggufs import differing_prompts
from serve.shipped.measured import Said
from serve.shipped.tokenizer_checks import Tokenizer, folder_checks, template_check
from serve.shipped.weights import tensor_checks

if TYPE_CHECKING:
    from serve.shipped.worker import ShippedCertifier

_TYPES = ("float32", "float16", "bfloat16")
_LEAST_BITS = 8
_UNTOUCHED, _MOVED = 1e-4, 1e-2  # of a tensor's size
_HEADS = ("lm_head.weight", "lm_head.weight_packed")


def evidence(certifier: ShippedCertifier, trained: Tokenizer) -> Evidence:
    path = certifier.subject.path
    model = ModelFolder(path)
    checks = [*folder_checks(path, trained), _template(model, certifier, trained)]
    checks += head_check(path, certifier.exported)
    quantised = certifier.subject.kind == "compressed-tensors"
    dtype = "" if quantised else _dtype(model)
    shipped = certifier.ask_transformers("shipped", path, dtype, certifier.exported)
    twin: Said | None = None
    uncalibrated = ""
    if quantised:
        try:
            twin = certifier.ask_transformers(
                "twin", _twin(certifier), trained=certifier.began_from
            )
        except LuthierError as error:
            uncalibrated = error.message
        calibration = "The base model, rounded by this folder's own quantization_config."
        title = "The compressed model"
    else:
        twin = certifier.ask_transformers("twin", certifier.began_from, dtype, certifier.began_from)
        calibration = f"The base model in {dtype}, by the same program."
        title = "The folder's model"
    if twin is not None and not (quantised and _is_rescaled(model, shipped, twin)):
        checks += tensor_checks(shipped.moved, twin.moved)
    return Evidence(title, checks, shipped, twin, calibration, uncalibrated)


def _is_rescaled(model: ModelFolder, shipped: Said, twin: Said) -> bool:
    """Whether its recipe moves weights on purpose, so that they are no longer the trained ones
    rounded: GPTQ and AWQ do so in four bits, and what scales activations moves norms, too."""
    groups = model.config["quantization_config"].get("config_groups") or {}
    bits = [(group.get("weights") or {}).get("num_bits") or 16 for group in groups.values()]
    untouched = [name for name, share in twin.moved.items() if share < _UNTOUCHED]
    norms_moved = [name for name in untouched if shipped.moved.get(name, 0.0) > _MOVED]
    return min(bits, default=16) < _LEAST_BITS or len(norms_moved) > 1


def _twin(certifier: ShippedCertifier) -> Path:
    """The base by the same scheme, rounded to the nearest: recipes that look at data do better."""
    out = certifier.context.directory / "twin"
    command = [sys.executable, "-P", "-m", "models.export.compressed_writer"]
    command += [str(certifier.began_from), str(out), certifier.subject.name]
    return run_commands([command], certifier, out)


def _dtype(model: ModelFolder) -> str:
    stated = str(model.config.get("dtype") or model.config.get("torch_dtype") or "")
    return stated if stated in _TYPES else "bfloat16"


def _template(model: ModelFolder, certifier: ShippedCertifier, trained: Tokenizer) -> Check:
    own, shipped = trained.folder.chat_template or "", model.chat_template or ""
    prompts = sum(len(sample.turns) for sample in certifier.samples)
    differing = None
    if shipped and shipped.rstrip() != own.rstrip():
        differing = differing_prompts(shipped, certifier)
    return template_check(shipped, own, differing, prompts)


def head_check(path: Path, exported: Path | None) -> list[Check]:
    """A model with an output head of its own must ship it, and must not say that it is tied."""
    if exported is None:
        return []
    says_tied = ModelFolder(path).text_config.get("tie_word_embeddings")
    trained_own, shipped_own = _has_own_head(exported), _has_own_head(path)
    lost = not shipped_own and (trained_own or says_tied is False)
    sentence = (
        "The folder lacks the output head: the trained model has one of its own, or the folder says"
        " that it has."
        if lost
        else f"The output head is {'there' if shipped_own else 'the embedding, as in training'}."
    )
    return [Check("output head", "red" if lost else "green", sentence, int(lost), 0, 0, "missing")]


def _has_own_head(path: Path) -> bool:
    """A config that does not say whether it is tied is so where there is no head."""
    if ModelFolder(path).text_config.get("tie_word_embeddings"):
        return False
    names = {name for file in weight_files(path) for name in tensor_shapes(file)}
    return any(name.endswith(_HEADS) for name in names)
