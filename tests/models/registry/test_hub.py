"""Models from the hub, by its own client from a stand-in of it: what is taken, what is gone on
with, and what is said when it fails."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from jobs.home import models_directory
from jobs.luthier_error import LuthierError
from models.catalogue import find_entry
from models.imports import hub as importing
from models.imports.launch import discard, start_import, unfinished
from models.weights import tensor_shapes
from tests.fakes.hub import COMMIT, HubServer
from tests.models.registry.made import import_here, repository, weights_bytes

LARGE = weights_bytes(6_000_000)  # 24 MB: the client hands over what has come 10 MB at a time
SMALL = weights_bytes(40)


def refusal(source: str = "hub:pirates/large") -> LuthierError:
    with pytest.raises(LuthierError) as caught:
        import_here(source)
    return caught.value


def test_only_what_is_needed_comes(server: HubServer) -> None:
    server.repositories["pirates/Two-Shards"] = repository(
        {
            "model-00001-of-00002.safetensors": SMALL,
            "model-00002-of-00002.safetensors": weights_bytes(30),
        },
        **{
            "consolidated.safetensors": weights_bytes(70),
            "pytorch_model.bin": b"\x80pickle",
            "modeling_pirate.py": b"raise SystemExit",
            "LICENSE": b"MIT License",
            "onnx/model.safetensors": SMALL,
            "../outside.json": b"{}",
            "training_args.bin": b"\x80",
        },
    )
    result = import_here("hub:pirates/Two-Shards")
    assert result is not None and result["path"] == str(models_directory() / "Two-Shards")
    assert sorted(path.name for path in (models_directory() / "Two-Shards").iterdir()) == [
        "LICENSE",
        "README.md",
        "card.json",
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    entry = find_entry("Two-Shards")
    assert (entry.kind, entry.parameters, entry.context_length, entry.licence) == (
        "base",
        70,
        64,
        "mit",
    )
    assert (
        entry.origin == f"imported from hub:pirates/Two-Shards at {COMMIT[:8]}"
        and entry.repository == "pirates/Two-Shards"
    )
    assert entry.template is not None and entry.template.family == "ChatML"
    assert "contains code" in entry.warnings[0]
    assert unfinished() == []


def test_a_cut_connection_goes_on_where_it_was(server: HubServer) -> None:
    server.repositories["pirates/large"] = repository({"model.safetensors": LARGE})
    server.cuts["model.safetensors"] = 1
    server.cut_after = 15_000_000
    assert import_here("hub:pirates/large") is not None
    assert (models_directory() / "large" / "model.safetensors").read_bytes() == LARGE
    # what had come whole was not fetched again
    assert server.ranges == [("model.safetensors", 10_485_760)]


@pytest.mark.heavy
def test_a_failed_import_is_gone_on_with_by_the_next_one(server: HubServer) -> None:
    server.repositories["pirates/large"] = repository({"model.safetensors": LARGE})
    server.cut, server.cut_after = {"model.safetensors"}, 15_000_000
    error = refusal()
    assert error.title == "The hub cannot be reached" and "again to resume" in error.hint
    assert not (models_directory() / "large").exists()
    (left,) = unfinished()
    assert (left.name, left.source) == ("large", "hub:pirates/large") and left.bytes > 10_000_000
    server.cut.clear()
    server.ranges.clear()
    before = len(server.requests)
    assert import_here("hub:pirates/large") is not None
    assert server.ranges == [("model.safetensors", 10_485_760)]
    # whole files are not asked for again
    assert not any("tokenizer" in request for request in server.requests[before:])
    assert (models_directory() / "large" / "model.safetensors").read_bytes() == LARGE


@pytest.mark.heavy
def test_another_revision_is_not_mixed_with_what_is_there(server: HubServer) -> None:
    server.repositories["pirates/large"] = repository({"model.safetensors": LARGE})
    server.cut, server.cut_after = {"model.safetensors"}, 15_000_000
    refusal()
    server.cut.clear()
    other = weights_bytes(6_000_000, b"\5\6\7")
    server.repositories["pirates/large"]["model.safetensors"] = other
    server.heads["pirates/large"] = "f" * 40
    server.ranges.clear()
    assert import_here("hub:pirates/large") is not None
    assert (
        server.ranges == []
        and (models_directory() / "large" / "model.safetensors").read_bytes() == other
    )


def test_a_stop_keeps_what_came_and_it_can_be_discarded(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.repositories["pirates/large"] = repository({"model.safetensors": LARGE})
    arrived = importing._Fetch._arrived

    def stop_then(self: Any, count: int) -> None:
        self._progress._context.stopping.set()
        arrived(self, count)

    monkeypatch.setattr(importing._Fetch, "_arrived", stop_then)
    assert import_here("hub:pirates/large") is None
    (left,) = unfinished()
    discard(left)
    assert list(models_directory().iterdir()) == []


def test_bytes_that_arrive_wrong_are_noticed(server: HubServer) -> None:
    server.repositories["pirates/small"] = repository({"model.safetensors": SMALL})
    server.spoiled["model.safetensors"] = 1
    assert import_here("hub:pirates/small", "once") is not None
    assert (models_directory() / "once" / "model.safetensors").read_bytes() == SMALL
    server.spoiled["config.json"] = 2
    assert refusal("hub:pirates/small").title == "A file arrived damaged"


def test_a_server_s_errors_are_tried_again(server: HubServer) -> None:
    server.repositories["pirates/small"] = repository({"model.safetensors": SMALL})
    server.errors = {"/api/models/": [500, 503], "resolve": [502, 500, 429]}
    assert import_here("hub:pirates/small") is not None
    server.errors = {"/api/models/": [500] * 20}
    error = refusal("hub:pirates/small2")
    assert error.title == "The hub has a problem" and "500" in error.message
    assert unfinished() == []


class Told(NamedTuple):
    title: str
    words: tuple[str, ...]


@pytest.mark.parametrize(
    ("source", "token", "told"),
    [
        (
            "hub:pirates/nothing",
            "",
            Told("No such repository", ("misspelt, or private", "hf auth login")),
        ),
        ("hub:sailor/secret", "", Told("No such repository", ("private", "HF_TOKEN"))),
        (
            "hub:pirates/open",
            "hf_wrong",
            Told("The hub does not accept the token", ("HF_TOKEN", "settings/tokens")),
        ),
        ("hub:pirates/open@v9", "", Told("No such revision", ("pirates/open",))),
        (
            "hub:pirates/gated",
            "",
            Told("A gated model", ("/pirates/gated in a browser", "accept", "hf auth login")),
        ),
        ("hub:pirates/gated", "hf_reader", Told("A gated model", ("to that account",))),
        ("hub:pirates/pickled", "", Told("Pickled weights", ("can run code", "--trust"))),
        ("hub:pirates/gguf", "", Told("GGUF files only", ("m.gguf",))),
        ("hub:pirates/notes", "", Told("Not a model", ("config.json",))),
    ],
)
def test_what_is_wrong_is_told_in_words(
    server: HubServer, monkeypatch: pytest.MonkeyPatch, source: str, token: str, told: Told
) -> None:
    whole = repository({"model.safetensors": SMALL})
    config = {"config.json": b"{}", "tokenizer.json": b"{}"}
    server.repositories = dict.fromkeys(("pirates/open", "sailor/secret", "pirates/gated"), whole)
    server.repositories["pirates/pickled"] = {**config, "pytorch_model.bin": b"\x80"}
    server.repositories["pirates/gguf"] = {**config, "m.gguf": b"GGUF"}
    server.repositories["pirates/notes"] = {"README.md": b"# Notes"}
    server.private, server.gated = {"sailor/secret"}, {"pirates/gated": {"hf_writer"}}
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    error = refusal(source)
    assert error.title == told.title
    assert all(word in f"{error.message} {error.hint}" for word in told.words), error
    assert list(models_directory().iterdir()) == []


def test_the_token_opens_gated_and_private_models(server: HubServer, tmp_path: Path) -> None:
    server.repositories["sailor/secret"] = repository({"model.safetensors": SMALL})
    server.private, server.gated = {"sailor/secret"}, {"sailor/secret": {"hf_writer"}}
    (tmp_path / "token").write_text("hf_writer\n")  # as `hf auth login` leaves it
    assert import_here("hub:sailor/secret") is not None


def test_offline_and_out_of_reach(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert refusal().title == "The hub cannot be reached"
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: True)
    assert "HF_HUB_OFFLINE" in refusal().message


def test_no_space_is_told_before_and_survived_within(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.repositories["pirates/large"] = repository({"model.safetensors": LARGE})
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=50_000_000))
        error = refusal()
        assert error.title == "Not enough disk space" and not any(
            "model.safetensors" in line for line in server.requests
        )
    arrived = importing._Fetch._arrived

    def full(self: Any, count: int) -> None:
        arrived(self, count)
        if count > 1_000_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(importing._Fetch, "_arrived", full)
        with pytest.raises(OSError, match="No space left"):
            import_here("hub:pirates/large")
    assert unfinished()[0].bytes > 10_000_000
    assert import_here("hub:pirates/large") is not None
    assert tensor_shapes(models_directory() / "large" / "model.safetensors") == {"w": [6_000_000]}


def test_an_adapter_comes_as_an_adapter(server: HubServer, tmp_path: Path) -> None:
    from tests.models.merge.headers import write_adapter

    write_adapter(tmp_path / "made", base_model_name_or_path="pirates/base")
    files = {path.name: path.read_bytes() for path in (tmp_path / "made").iterdir()}
    server.repositories["pirates/lora"] = {
        **files,
        "config.json": b"{}",
        "README.md": b"---\nlicense: mit\n---\n",
    }
    server.repositories["pirates/base"] = repository({"model.safetensors": SMALL})
    assert (
        import_here("hub:pirates/lora") is not None
        and import_here("hub:pirates/base", "the-base") is not None
    )
    entry = find_entry("lora")
    assert (entry.kind, entry.rank, entry.base, entry.context_length, entry.licence) == (
        "tuned",
        4,
        "the-base",
        64,
        "mit",
    )


def test_trust_is_given_by_name(server: HubServer) -> None:
    with pytest.raises(LuthierError, match="--trust needs the repository's own name"):
        start_import("hub:pirates/open", trust="pirates/other")
    server.repositories["pirates/own"] = repository(
        {"model.safetensors": SMALL}, **{"modeling_own.py": b"# code"}
    )
    assert import_here("hub:pirates/own", trust=True) is not None
    assert (models_directory() / "own" / "modeling_own.py").read_bytes() == b"# code"


@pytest.mark.parametrize(
    "source",
    ["hub:nobody", "hub:a/b/c", "hub:../x", "hub:a/..", "hub:a--b/c", "hub:a/b@../../x", "hub:"],
)
def test_names_that_could_lead_elsewhere_are_refused(source: str) -> None:
    with pytest.raises(LuthierError, match="Not a re"):
        start_import(source)
