"""Which model is asked where a person names none: the base model of Luthier's own server. Light."""

from __future__ import annotations

from jobs.luthier_error import LuthierError
from serve.servers import running_servers


def address_and_model(address: str, model: str) -> tuple[str, str]:
    """LuthierError if nothing is there to ask."""
    if address:
        if not model:
            raise LuthierError(
                "No model", f"{address} is to be asked, but no model is named.", "Add --model NAME."
            )
        return address, model
    servers = running_servers()
    if not servers:
        raise LuthierError(
            "No model to ask",
            "This recipe has a model write the questions, and no server of Luthier's is running.",
            "`luthier serve --model DIR` starts one; --at URL asks another endpoint. The recipes"
            " continue and dialogue ask nobody.",
        )
    server = servers[0]
    names = [served.id for served in server.models]
    if model and model not in names:
        raise LuthierError(
            "No such model",
            f"The server at {server.base_url} does not have {model}.",
            f"It has {', '.join(names)}.",
        )
    base = next(served.id for served in server.models if served.kind == "base")
    return f"{server.base_url}/v1", model or base
