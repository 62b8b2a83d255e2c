"""Starting points: recipes known from elsewhere, by name. Their names alone are
listed at once, for a shell that completes them: what reads recipes is imported at first use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jobs.luthier_error import LuthierError
from jobs.near import did_you_mean

_FOLDER = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Preset:
    """`text` is a recipe's, with comments; the first says what it is for, as `purpose` does."""

    name: str
    purpose: str
    text: str

    def values(self) -> dict[str, Any]:
        """What a recipe of that text holds."""
        from trainer.recipe import parse_toml

        return parse_toml(self.text, self.name)

    def written_for(self, model: str | None, data: Sequence[str]) -> str:
        """The text with this model and these data sets, if any are given; comments stay."""
        import tomlkit

        document = tomlkit.parse(self.text)
        for key, value in (("model", model), ("data", [*data])):
            if value:
                document[key] = value
        return tomlkit.dumps(document)


@cache
def presets() -> list[Preset]:
    """All there are, by name."""
    recipes = []
    for path in sorted(_FOLDER.glob("*.toml")):
        text = path.read_text(encoding="utf-8")
        recipes.append(Preset(path.stem, text.partition("\n")[0].lstrip("# "), text))
    return recipes


def find_preset(name: str) -> Preset:
    """LuthierError names the nearest ones if there is none."""
    by_name = {preset.name: preset for preset in presets()}
    if name in by_name:
        return by_name[name]
    raise LuthierError(
        "No such starting point",
        f"There is no starting point named {name!r}.",
        f"{did_you_mean(name, by_name, 0.4)}`luthier recipes` lists them: {', '.join(by_name)}.",
    )
