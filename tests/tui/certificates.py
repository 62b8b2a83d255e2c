"""Certificates made by hand, as serve.certificate.worker leaves them."""

from __future__ import annotations

from jobs.job import Job
from models import certificate
from models.certificate import Certificate, Check, Column, Verdict
from models.chapters import Chapter, ChapterKind
from tests.tui import folders

RED = (
    "40 of 41 prompts are not the token ids of training: the chat template or the tokenizer was"
    " changed since, and the model never saw such prompts."
)


def certified(job: Job, token_ids: Verdict = "green") -> Certificate:
    """A certificate in the run's folder, with the figures of a real one."""
    adapter = job.directory / "adapter"
    sentence = (
        RED
        if token_ids == "red"
        else "The server makes the very token ids of training of all 41 prompts."
    )
    checks = [
        Check(
            "exact bytes, base weights",
            "green",
            "The base weights of today, to the byte, are what the run used.",
            0,
            0,
            0,
            "differences",
        ),
        Check(
            "exact bytes, adapter",
            "green",
            "The adapter is, to the byte, what the run made.",
            0,
            0,
            0,
            "differences",
        ),
        Check(
            "token ids", token_ids, sentence, 40 if token_ids == "red" else 0, 0, 0, "of 41 prompts"
        ),
        Check(
            "stop tokens, base",
            "green",
            "Every stop token that was trained (2) is one that the base model names.",
            0,
            0,
            0,
            "unknown",
        ),
        Check(
            "tokens compared",
            "green",
            "1,596 tokens were compared.",
            1596,
            200,
            None,
            "tokens",
            at_least=True,
        ),
        Check(
            "base against base",
            "green",
            "They differ by 0.0515 nats a token.",
            0.0515,
            0.1235,
            0.3704,
            "nats a token",
        ),
        Check(
            "adapter effect, transformers",
            "green",
            "It moves.",
            1.3174,
            0.0574,
            0.0011,
            "nats a token",
            at_least=True,
        ),
        Check(
            "adapter effect, vLLM",
            "green",
            "It moves.",
            1.3239,
            0.0574,
            0.0011,
            "nats a token",
            at_least=True,
        ),
        Check(
            "vLLM + adapter, log-probs",
            "green",
            "It differs as much as base against base.",
            0.0371,
            0.0861,
            0.1148,
            "nats a token",
        ),
        Check(
            "vLLM + adapter, mean NLL",
            "green",
            "It differs as much as base against base.",
            0.0008,
            0.011,
            0.0147,
            "nats",
        ),
        Check(
            "vLLM + adapter, top-1",
            "green",
            "It differs as much as base against base.",
            0.0188,
            0.0485,
            0.0647,
            "of tokens",
        ),
        Check(
            "stopping, tuned",
            "green",
            "100% of the answers end with a stop token.",
            1.0,
            0.5,
            0,
            "of answers",
            at_least=True,
        ),
    ]
    columns = [
        Column("base", "transformers", 3.8005, 1596),
        Column("tuned", "transformers", 2.8185, 1596),
        Column("base", "vLLM", 3.8016, 1596, 4, 12),
        Column("tuned", "vLLM", 2.8193, 1596, 12, 12),
    ]
    made = Certificate(
        run=job.id,
        base="/models/builtin",
        adapter=str(adapter),
        merged=None,
        made=folders.NOW - 120,
        seconds=74.2,
        sample={"file": "heldout.jsonl", "conversations": 16, "turns": 41, "tokens": 1596},
        columns=columns,
        checks=checks,
        versions={"device": "cpu"},
        files=certificate.stamps(adapter),
    )
    certificate.write(job.directory, made)
    return made


def chapter(kind: ChapterKind, verdict: Verdict) -> Chapter:
    """A further chapter of one check, made two hours ago."""
    sentence = f"It is {verdict}."
    checks = [Check(f"{kind} rows", verdict, sentence, 0.05, 0.01, 0.04, "of rows")]
    written_at = folders.NOW - 7200
    return Chapter(kind, "", sentence, written_at, 42.0, f"job-{kind}", checks, "Bounds of a test.")
