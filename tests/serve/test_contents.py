from __future__ import annotations

import json
from pathlib import Path

from models.folder import ModelFolder
from tests.serve.conftest import write_adapter


def test_the_order_in_which_peft_has_saved_its_sets_makes_no_other_adapter(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "captain")
    config = json.loads((folder / "adapter_config.json").read_text())
    told = set()
    for modules in (["q_proj", "v_proj"], ["v_proj", "q_proj"], ["v_proj"], "all-linear"):
        (folder / "adapter_config.json").write_text(
            json.dumps({**config, "target_modules": modules})
        )
        told.add(ModelFolder(folder).identity())
    (folder / "adapter_config.json").write_text("[no config")
    assert len(told | {ModelFolder(folder).identity()}) == 4
