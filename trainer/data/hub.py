"""Rows of a data set of the Hugging Face hub, streamed. Loads the `datasets` library at first
use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from jobs.luthier_error import LuthierError
from trainer.data.files_tables import plain
from trainer.data.streams import Piece

HUB = "hub:"


class HubSource(NamedTuple):
    """`hub:owner/name`, `hub:owner/name/config`, each with `:split` after it. `config` is a subset
    that the data set's card names."""

    name: str
    config: str | None
    split: str


def parsed(source: str) -> HubSource:
    """LuthierError if the source is not a data set on the hub."""
    path, colon, split = source.removeprefix(HUB).partition(":")
    parts = path.split("/")
    if len(parts) not in (2, 3) or not all(parts) or (colon and not split):
        hint = f"Write {HUB}owner/name, {HUB}owner/name:split or {HUB}owner/name/config:split."
        raise LuthierError("Not a data set on the hub", f"{source!r} names none.", hint)
    return HubSource("/".join(parts[:2]), parts[2] if len(parts) == 3 else None, split or "train")


def hub_rows(source: str, on_read: Callable[[int], None]) -> Iterator[Piece]:
    """Every row of a source; `on_read` gets the bytes that the rows so far take. LuthierError with
    the library's own words."""
    dataset = parsed(source)
    import datasets

    # Each try is half a minute of patience already; the library's 20 of them would say nothing of a
    # lost connection for ten minutes.
    datasets.config.STREAMING_READ_MAX_RETRIES = datasets.config.STREAMING_OPEN_MAX_RETRIES = 2
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # no telemetry
    read = 0
    try:
        # A bare name would mean a folder of that name, if there happens to be one here.
        rows = datasets.load_dataset(
            f"hf://datasets/{dataset.name}", dataset.config, split=dataset.split, streaming=True
        )
        for value in rows:
            piece = plain(value)
            read += piece.size
            on_read(read)
            yield piece
    except Exception as error:  # noqa: BLE001 - the library raises errors of a dozen others, all with words for the user
        hint = _OFFLINE if datasets.config.HF_HUB_OFFLINE else _HINT
        reason = " ".join((str(error) or type(error).__name__).split())
        raise LuthierError(
            "The data set on the hub cannot be read", f"{source}: {reason[:500]}", hint
        ) from None


_HINT = (
    "Check its name, config and split, and the network; or download its files and name their"
    " folder as `data`."
)
_OFFLINE = (
    "HF_HUB_OFFLINE is set, so Luthier does not ask the hub: unset it, or name a folder of files"
    " as `data`."
)
