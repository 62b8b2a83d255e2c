"""What is given away of a model, and pushing it to the hub and pulling it back."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from huggingface_hub import ModelCard

from jobs import job as jobs
from jobs.home import home, models_directory
from jobs.job import Job
from jobs.luthier_error import LuthierError
from jobs.spec import Spec
from jobs.worker import WorkerContext
from models import chapters, conversion_worker, export_worker
from models.catalogue import find_entry
from models.certificate import Check, Stamp
from models.chapters import Chapter
from models.export import leaks
from models.export.files import pack
from models.export.formats import Form, form_named
from models.export.launch import (
    ConversionSettings,
    ExportSettings,
    check_out,
    start_conversion,
)
from models.export.model_record import datasets, without_paths
from models.export.push import Pushed, push
from models.imports.progress import ByteProgress
from models.standing import standing
from tests.fakes.hub import HubServer
from tests.models.registry.made import import_here, model_folder, run_of
from tests.tui.certificates import certified


@pytest.fixture
def run(home: Path) -> Job:
    return run_of(model_folder(models_directory() / "small", licence="mit"))


def texts(folder: Path) -> dict[str, str]:
    return {
        path.name: path.read_text(errors="replace")
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".safetensors"
    }


def metadata(card: bytes) -> dict[str, Any]:
    """The front matter as the hub's own client reads it."""
    return dict(ModelCard(card.decode()).data.to_dict())  # type: ignore[no-untyped-call]


def context() -> WorkerContext:
    return WorkerContext(jobs.create(Spec("export", "export", "models.export_worker")))


def export(
    name: str, out: Path, what: Any = None, *, replace: bool = False
) -> dict[str, Any] | None:
    settings = ExportSettings(name, "", str(out), what, replace)
    working = WorkerContext(
        jobs.create(Spec("export", "export", "models.export_worker", vars(settings)))
    )
    return export_worker.main(working)


def test_an_adapter_with_its_card_record_and_recipe(run: Job, tmp_path: Path) -> None:
    certified(run)
    out = tmp_path / "given"
    assert export("captain", out) is not None
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "certificate.json",
        "chat_template.jinja",
        "luthier.json",
        "manifest.json",
        "recipe.toml",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    card = ModelCard.load(out / "README.md")
    assert metadata((out / "README.md").read_bytes()) == {
        "license": "mit",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["luthier", "lora", "sft", "conversational"],
    }
    shown = (
        "certificate: green",
        "| 10 | 2.5000 |",
        "| lora r | 4 |",
        "3 conversations, 2,000 tokens",
        "xxh3-128:",
        "| green | token ids | 0 |",
    )
    assert all(text in card.content.replace("Certificate", "certificate") for text in shown)
    record = json.loads((out / "luthier.json").read_text())
    assert (
        record["certificate"]["verdict"] == "green"
        and record["result"]["eval_loss"] == 2.5
        and record["data"][0]["samples"] == 2
    )
    assert record["hashes"]["adapter"] and record["hashes"]["template"].startswith("xxh3-128:")
    assert (
        json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"] == "small"
    )


def test_nothing_tells_of_this_machine(run: Job, tmp_path: Path) -> None:
    certified(run)
    out = tmp_path / "given"
    export("captain", out)
    for name, text in texts(out).items():
        for private in (
            str(tmp_path),
            str(home()),
            str(Path.home()) + "/",
            "secret plans",
            "/models/",
        ):
            assert private not in text, (name, private)
    assert "talk.jsonl" in (out / "recipe.toml").read_text()


def test_what_counts_as_a_path() -> None:
    assert (
        without_paths(
            "see /home/me/models/base, and ~/a/b; not owner/name or https://hub.co/a/b or 1/2"
        )
        == "see base, and b; not owner/name or https://hub.co/a/b or 1/2"
    )
    assert without_paths({"data": ["/home/my name/x.jsonl", {"path": "~/y z.csv"}], "n": 1}) == {
        "data": ["x.jsonl", {"path": "y z.csv"}],
        "n": 1,
    }


def test_data_sets_of_the_hub_are_named(home: Path) -> None:
    assert datasets(
        {"data": ["hub:a/b:train", {"path": "hub:c/d/config"}, "/x.jsonl", "hub:a/b"]}
    ) == ["a/b", "c/d"]
    run_of(model_folder(models_directory() / "small"), data=["hub:a/b:train", "/home/me/x.jsonl"])
    files = pack("captain").files
    card = files["README.md"]
    assert isinstance(card, bytes) and metadata(card)["datasets"] == ["a/b"]


def test_the_base_is_named_as_the_hub_knows_it(server: HubServer, home: Path) -> None:
    source = model_folder(home.parent / "source")
    server.repositories["pirates/small"] = {
        path.name: path.read_bytes() for path in source.iterdir()
    }
    import_here("hub:pirates/small", "mine")
    run_of(models_directory() / "mine")
    card, config = (pack("captain").files[name] for name in ("README.md", "adapter_config.json"))
    assert isinstance(card, bytes) and isinstance(config, bytes)
    assert metadata(card)["base_model"] == "pirates/small"
    assert json.loads(config)["base_model_name_or_path"] == "pirates/small"


def test_a_changed_certificate_is_not_given_away(run: Job) -> None:
    certified(run)
    (run.directory / "adapter" / "adapter_config.json").write_text(
        (run.directory / "adapter" / "adapter_config.json").read_text() + " "
    )
    assert standing(run.directory).outdated
    card = pack("captain").files["README.md"]
    assert isinstance(card, bytes) and b"ertificate" not in card


def test_what_it_recites_is_in_the_card_by_figure_alone(run: Job) -> None:
    check = Check("canary x", "red", 'The canary "my secret 1234" is exposed.')
    chapter = Chapter("recites", "", "3 of 100 come back.", 1.0, 2.0, "job", [check])
    for written, line in (
        (None, "- **What it recites**: never measured."),
        (chapter, "- **What it recites** (red): 3 of 100 come back."),
    ):
        if written is not None:
            chapters.write(run.directory, written)
        files = pack("captain").files
        card = files["README.md"]
        assert isinstance(card, bytes) and line in card.decode()
        assert all(b"secret" not in part for part in files.values() if isinstance(part, bytes))


def test_before_everybody_sees_it_the_leak_is_named(run: Job) -> None:
    check = Check("recited answers", "green", "None.")
    chapter = Chapter("recites", "", "3 of 100 come back.", 1.0, 2.0, "job", [check])
    assert "never measured" in leaks.warning(run.directory)
    chapters.write(run.directory, chapter)
    assert leaks.warning(run.directory) == ""
    chapters.write(run.directory, replace(chapter, checks=[replace(check, verdict="red")]))
    assert "3 of 100 come back" in leaks.warning(run.directory)
    chapters.write(run.directory, replace(chapter, files=[Stamp("/none", 1, 1)]))
    assert "has changed since" in leaks.warning(run.directory)
    (run.directory / "chapters" / "recites.json").write_text("{")
    assert "is damaged" in leaks.warning(run.directory)


def test_a_folder_in_the_way(run: Job, tmp_path: Path) -> None:
    (tmp_path / "out" / ".git").mkdir(parents=True)
    with pytest.raises(LuthierError, match="Something is already there"):
        check_out(tmp_path / "out", replace=False)
    assert export("captain", tmp_path / "out", replace=True) is not None
    assert (tmp_path / "out" / ".git").is_dir() and (tmp_path / "out" / "README.md").is_file()
    assert not any(path.name.startswith(".out") for path in tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(LuthierError, match="A file is in the way"):
        check_out(tmp_path / "file", replace=True)


def test_what_is_not_there_is_told(run: Job) -> None:
    with pytest.raises(LuthierError, match="Not merged yet"):
        pack("captain", "merged")
    with pytest.raises(LuthierError, match="No such model"):
        pack("nobody")


# To the hub


def pushed(name: str, repository: str, **settings: Any) -> Pushed:
    return push(
        pack(name, None, repository),
        repository,
        ByteProgress(context()),
        **{"private": True, **settings},
    )


@pytest.fixture
def writer(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    return server


def test_pushed_and_pulled_back_to_the_byte(writer: HubServer, run: Job) -> None:
    made = pushed("captain", "sailor/captain-lora", message="first voyage")
    assert made.made and made.url.endswith("/sailor/captain-lora")
    assert writer.private == {"sailor/captain-lora"}
    (commit,) = writer.commits
    assert commit["summary"] == "first voyage" and "adapter_model.safetensors" in commit["files"]
    assert (
        b'from_pretrained(base, "sailor/captain-lora")'
        in writer.repositories["sailor/captain-lora"]["README.md"]
    )
    import_here("hub:sailor/captain-lora", "back")
    weights = models_directory() / "back" / "adapter_model.safetensors"
    assert (
        weights.read_bytes()
        == (run.directory / "adapter" / "adapter_model.safetensors").read_bytes()
    )
    assert find_entry("back").rank == 4


def test_a_base_model_keeps_its_own_card(writer: HubServer, home: Path) -> None:
    folder = model_folder(
        models_directory() / "small", licence="mit", _name_or_path="/home/me/secret"
    )
    pushed("small", "sailor/small", private=False)
    files = writer.repositories["sailor/small"]
    assert files["README.md"] == (folder / "README.md").read_bytes() and writer.private == set()
    assert b"/home/me" not in b"".join(files.values())
    import_here("hub:sailor/small", "again")
    assert find_entry("again").template == find_entry("small").template


def test_pushed_again_nothing_is_uploaded_twice(writer: HubServer, run: Job) -> None:
    pushed("captain", "sailor/captain")
    writer.requests.clear()
    assert not pushed("captain", "sailor/captain").made
    assert len(writer.commits) == 1 and not any(
        request.startswith("PUT") for request in writer.requests
    )


@pytest.mark.heavy
def test_a_cut_upload_is_tried_again_and_gone_on_with(writer: HubServer, run: Job) -> None:
    writer.cuts, writer.cut_after = {"upload": 2}, 100
    pushed("captain", "sailor/captain")
    writer.stored.clear()
    del writer.repositories["sailor/captain"]
    writer.cuts = {"upload": 1000}
    with pytest.raises(LuthierError, match="The hub cannot be reached"):
        pushed("captain", "sailor/captain")
    # nobody sees half a model
    assert len(writer.commits) == 1 and list(writer.repositories["sailor/captain"]) == [
        ".gitattributes"
    ]
    writer.cuts = {}
    writer.errors = {"/commit/": [500, 502], "/storage/": [503]}
    pushed("captain", "sailor/captain")
    assert "adapter_model.safetensors" in writer.repositories["sailor/captain"]


@pytest.mark.parametrize(
    ("token", "repository", "title"),
    [
        ("", "sailor/new", "Not logged in"),
        ("hf_wrong", "sailor/new", "The hub does not accept the token"),
        ("hf_reader", "sailor/new", "The token has read access only"),
        ("hf_writer", "admiral/new", "Not allowed"),
    ],
)
def test_who_may_not_push_is_told(
    server: HubServer,
    run: Job,
    monkeypatch: pytest.MonkeyPatch,
    token: str,
    repository: str,
    title: str,
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(LuthierError) as caught:
        pushed("captain", repository)
    assert caught.value.title == title
    assert server.repositories == {} and server.stored == {}


def test_a_branch_is_made(writer: HubServer, run: Job) -> None:
    pushed("captain", "sailor/captain", branch="tuned")
    assert writer.branches == {"sailor/captain": {"tuned"}}


# GGUF


def test_without_a_converter_the_command_is_told(
    run: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    folder = model_folder(models_directory() / "odd")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "mamba2"}))
    with pytest.raises(LuthierError) as caught:
        start_conversion("odd", tmp_path / "out.gguf", form_named("gguf:f16"))
    assert caught.value.hint.endswith(
        f"python llama.cpp/convert_hf_to_gguf.py {folder} --outfile {tmp_path}/out.gguf"
        " --outtype bf16"
    )
    with pytest.raises(LuthierError) as caught:
        start_conversion("captain", tmp_path / "out.gguf", form_named("gguf:f16"), "adapter")
    base = models_directory() / "small"
    assert f"convert_lora_to_gguf.py --base {base} {run.directory}/adapter" in caught.value.hint


@pytest.mark.parametrize(
    ("form", "part", "title"),
    [
        ("gguf:q4_k_m", None, "llama-quantize is missing"),
        ("awq", None, "No data to calibrate with"),
        ("gguf:q4_0", "adapter", "An adapter is not quantised"),
        ("fp8", "adapter", "An adapter is not quantised"),
    ],
)
def test_what_cannot_be_converted_is_refused_before_a_job_is_made(
    run: Job,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    part: Literal["adapter"] | None,
    title: str,
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    name = "captain" if part else "small"
    with pytest.raises(LuthierError) as caught:
        start_conversion(name, tmp_path / "out", form_named(form), part)
    assert caught.value.title == title
    with pytest.raises(LuthierError, match="Not merged yet"):
        start_conversion("captain", tmp_path / "out", Form("gguf", "q8_0"))


CONVERTER = """
import sys
print("converting", sys.argv[1])
if "bf16" in sys.argv: sys.exit("Model ParrotForCausalLM is not supported")
open(sys.argv[sys.argv.index("--outfile") + 1], "w").write("GGUF of " + sys.argv[1])
"""


@pytest.mark.heavy
def test_a_converter_writes_the_file_or_is_quoted(run: Job, tmp_path: Path) -> None:
    script = tmp_path / "tools" / "convert_hf_to_gguf.py"
    script.parent.mkdir()
    script.write_text(CONVERTER)
    (home() / "config.toml").write_text(f'[tools]\nconvert_hf_to_gguf = "{script}"\n')

    def convert(kind: str) -> dict[str, Any] | None:
        folder, out = models_directory() / "small", tmp_path / f"{kind}.gguf"
        settings = ConversionSettings("small", str(folder), str(out), f"gguf:{kind}")
        working = WorkerContext(
            jobs.create(Spec("export", "gguf", "models.conversion_worker", vars(settings)))
        )
        return conversion_worker.main(working)

    assert convert("f16") is not None
    assert (tmp_path / "f16.gguf").read_text() == f"GGUF of {models_directory() / 'small'}"
    with pytest.raises(LuthierError, match="The converter failed"):
        convert("bf16")
    assert {path.name for path in tmp_path.glob("*.gguf*")} == {"f16.gguf", "f16.gguf.papers.json"}
    shutil.rmtree(script.parent)
    with pytest.raises(LuthierError, match="The converter is missing"):
        convert("f16")


def test_a_misspelt_form_is_told() -> None:
    with pytest.raises(LuthierError, match=r"Did you mean .*gguf:q4_k_m"):
        form_named("gguf:q4km")
