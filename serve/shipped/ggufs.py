"""A GGUF file: its header, its weights, and what llama.cpp (or transformers) says of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.luthier_error import LuthierError
from models.certificate import Check
from models.export.formats import Form
from models.export.tools import interpreter
from models.gguf_file import GgufFile
from serve.shipped.evidence import Evidence, base_in, run_commands
from serve.shipped.measured import Question, Said
from serve.shipped.tokenizer_checks import Tokenizer, gguf_checks, template_check
from serve.shipped.weights import weight_checks

if TYPE_CHECKING:
    from serve.shipped.worker import ShippedCertifier

_SCRIPT = Path(__file__).with_name("llama_cpp_script.py")
# What stands in for a type that only llama.cpp rounds to, where it is not here: the next coarser
# one of as many bits.
_STAND_INS = {"q4_k_s": "q4_0", "q4_k_m": "q4_0", "q5_k_s": "q5_0", "q5_k_m": "q5_0"}
_STAND_INS |= {"q6_k": "q5_1", "iq4_nl": "q4_0", "iq4_xs": "q4_0"}


def evidence(certifier: ShippedCertifier, trained: Tokenizer) -> Evidence:
    file = GgufFile(certifier.subject.path)
    checks = [*gguf_checks(file, trained), _template(file, certifier, trained)]
    twin_path, words = _twin(file, certifier)
    twin_file = GgufFile(twin_path) if twin_path is not None else None
    certifier.phase("comparing the weights", 20.0)
    checks += weight_checks(file, certifier.exported, twin_file, certifier.began_from)
    texts = _prompts(certifier, trained)
    shipped = _ask(certifier, "shipped", file.path, trained, list(texts.values()))
    twin = None if twin_path is None else _ask(certifier, "twin", twin_path, trained, [])
    checks += _read_by_program(shipped, texts, trained)
    return Evidence(
        title=f"The GGUF file ({file.kind or 'mixed types'})",
        checks=checks,
        shipped=shipped,
        twin=twin,
        calibration=words if twin_path is not None else "",
        uncalibrated=words,
    )


def _twin(file: GgufFile, certifier: ShippedCertifier) -> tuple[Path | None, str]:
    """The base in the same form, and how it was made; None, and why there is none."""
    if not file.kind or file.kind == "guessed":
        return None, "the file does not say of which type its weights are"
    out = certifier.context.directory / "twin.gguf"
    try:
        base_in(Form("gguf", file.kind), certifier, out)
        return out, f"The base model, written as {file.kind} by the same export."
    except LuthierError as error:
        reason, stand_in = error.message, _STAND_INS.get(file.kind)
    if stand_in is None:
        return None, reason
    try:
        base_in(Form("gguf", stand_in), certifier, out)
    except LuthierError as error:
        return None, error.message
    return out, (
        f"The base model written as {stand_in}, which is a little coarser: {reason}"
        " Bounds are somewhat wide for that."
    )


def _template(file: GgufFile, certifier: ShippedCertifier, trained: Tokenizer) -> Check:
    own = trained.folder.chat_template or ""
    prompts = sum(len(sample.turns) for sample in certifier.samples)
    differing = None
    if file.template and file.template.rstrip() != own.rstrip():
        differing = differing_prompts(file.template, certifier)
    return template_check(file.template, own, differing, prompts)


def differing_prompts(template: str, certifier: ShippedCertifier) -> int:
    """Of the held-out prompts, how many this template renders differently from training."""
    folder = certifier.context.directory
    paths = [folder / "template.jinja", folder / "template-answer.json"]
    paths[0].write_text(template, encoding="utf-8")
    command = [sys.executable, "-P", "-m", "serve.shipped.rendering", str(folder)]
    run_commands([[*command, str(certifier.tokenizer_folder)]], certifier, paths[1])
    return int(paths[1].read_text(encoding="utf-8"))


def _prompts(certifier: ShippedCertifier, trained: Tokenizer) -> dict[tuple[int, ...], str]:
    """The prompts of training by their ids, as texts."""
    from tokenizers import Tokenizer as Reader

    reader = Reader.from_file(str(trained.folder.path / "tokenizer.json"))
    prompts = {
        tuple(sample.input_ids[: turn.start])
        for sample in certifier.samples
        for turn in sample.turns
    }
    texts = {ids: reader.decode(list(ids), skip_special_tokens=False) for ids in sorted(prompts)}
    # what does not come back from its own text says nothing about another program
    return {
        ids: text
        for ids, text in texts.items()
        if tuple(reader.encode(text, add_special_tokens=False).ids) == ids
    }


def _ask(
    certifier: ShippedCertifier, name: str, path: Path, trained: Tokenizer, texts: list[str]
) -> Said:
    python = interpreter("llama_cpp_python", "llama_cpp")
    if python is None:
        return certifier.ask_transformers(name, path)
    question = Question(str(path), certifier.device, certifier.samples, texts, list(trained.stops))
    command = [python, "-I", str(_SCRIPT)]
    return certifier.ask(command, name, question, "llama.cpp")


def _read_by_program(
    shipped: Said, texts: dict[tuple[int, ...], str], trained: Tokenizer
) -> list[Check]:
    """What the program itself makes of the prompts and of the ends of answers."""
    if shipped.prompts is None or shipped.ends is None:
        return [
            Check(
                "kernels",
                "amber",
                "transformers read the file and dequantised it, which proves its weights and sizes"
                " but not llama.cpp's own tokenizer and kernels. Set llama_cpp_python under [tools]"
                " to have llama.cpp run it.",
            )
        ]
    differing = sum(
        tuple(served) != ids for ids, served in zip(texts, shipped.prompts, strict=True)
    )
    unknown = sorted(set(trained.stops) - set(shipped.ends))
    return [
        Check(
            "token ids",
            "red" if differing else "green",
            f"llama.cpp makes other token ids of {differing} of {len(texts)} prompts than training."
            if differing
            else f"Of all {len(texts)} prompts llama.cpp makes exactly the token ids of training.",
            *(differing, 0, 0, f"of {len(texts)} prompts"),
        ),
        Check(
            "stop tokens, llama.cpp",
            "red" if unknown else "green",
            f"llama.cpp does not end an answer at {', '.join(map(str, unknown))}, with which"
            " training ended them."
            if unknown
            else "llama.cpp ends answers at the tokens that training ended them with.",
            *(len(unknown), 0, 0, "unknown"),
        ),
    ]
