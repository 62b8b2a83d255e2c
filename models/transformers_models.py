"""Which models the installed transformers has for chat, read from its source: importing it takes
seconds."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from functools import cache
from pathlib import Path

from models.folder import CONFIG_FILE, ModelFolder

_MAPPING = re.compile(
    r"^MODEL_FOR_CAUSAL_LM_MAPPING_NAMES = OrderedDict\((.*?)^\)", re.DOTALL | re.MULTILINE
)


def why_not_loaded(model: Path) -> str:
    """Why transformers has no language model of a folder's type, as a sentence; "" if it has one,
    if the model brings code of its own, or where that cannot be read."""
    if not (model / CONFIG_FILE).is_file():
        return ""
    config = ModelFolder(model).config
    kind, model_types = str(config.get("model_type") or ""), _model_types()
    if not kind or not model_types or kind in model_types or config.get("auto_map"):
        return ""
    version = importlib.metadata.version("transformers")
    return f"transformers {version} has no language model of type {kind!r}"


@cache
def _model_types() -> frozenset[str]:
    spec = importlib.util.find_spec("transformers")
    if spec is None or spec.origin is None:
        return frozenset()
    source = Path(spec.origin).parent / "models" / "auto" / "modeling_auto.py"
    mapping = _MAPPING.search(source.read_text(encoding="utf-8")) if source.is_file() else None
    return frozenset(re.findall(r'\("([\w-]+)",\s*"', mapping[1])) if mapping else frozenset()
