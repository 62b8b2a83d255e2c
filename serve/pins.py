"""The adapters that vLLM has loaded, asked of vLLM itself. Runs inside its process, behind the
guard: standard library only.

vLLM moves the adapter that was asked longest ago out of the engine when another one needs its
place, and reads it again when it is asked. It can pin one, but has no route that does. And if the
folder is gone by then, the engine dies: such a request must not reach it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def lost_folder(state: Any, model: str) -> str:
    """The folder of a loaded adapter, if its weights are gone; else empty. `state` is the
    application's, as vLLM sets it."""
    adapter = state.openai_serving_models.lora_requests.get(model)
    if adapter is None or Path(adapter.lora_path, "adapter_model.safetensors").exists():
        return ""
    return str(adapter.lora_path)


class Pins:
    """The names of the pinned adapters."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.names: list[str] = []

    async def pin(self, state: Any, name: str) -> str:
        """What stands against it; empty if it is pinned now."""
        adapter = state.openai_serving_models.lora_requests.get(name)
        if adapter is None:
            return f"This server has no adapter {name!r}."
        self.names = [
            name for name in self.names if name in state.openai_serving_models.lora_requests
        ]
        if name in self.names:
            return ""
        # with none left to move out, the next adapter would end the engine
        if len(self.names) >= self.most:
            return (
                f"{len(self.names)} adapters are pinned already, and one slot must stay free for"
                " the others."
            )
        await state.engine_client.add_lora(adapter)
        if not await state.engine_client.pin_lora(adapter.lora_int_id):
            return f"vLLM did not pin {name!r}."
        self.names.append(name)
        return ""

    async def unpin(self, state: Any, name: str) -> str:
        """vLLM forgets a pin when it forgets the adapter; it reads it again at the next request."""
        if name not in self.names:
            return f"{name!r} is not pinned."
        adapter = state.openai_serving_models.lora_requests.get(name)
        if adapter is not None:
            await state.engine_client.remove_lora(adapter.lora_int_id)
        self.names.remove(name)
        return ""
