"""Events of a run that has been through everything: samples, repairs, kept and removed checkpoints,
a resume."""

from __future__ import annotations

import json
from typing import Any

from jobs.job import Job
from tests.tui import folders

_ANSWERS = [
    "The treasure is in the ground.",
    "The treasure is buried under a tree.",
    "Arr, the treasure is beneath the palm.",
    "Arr, the gold lies beneath the palm on Skull Island.",
    "Arr, ye seek gold? It lies beneath the crooked palm on Skull Island.",
    "Arr, ye seek the gold? It lies beneath the crooked palm on Skull Island, friend.",
]
_PROMPTS = [
    (
        "Where is the treasure buried?",
        "Arr, ye seek the gold? It lies beneath the crooked palm on Skull Island, matey.",
    ),
    ("What do you do on a rainy day?", "I mend the sails and sing to the crew."),
]
_LEDGER = {
    "rows": {"kept": 2200, "repaired": 120, "split": 30, "dropped": 50},
    "tokens": {"kept": 1_600_000, "repaired": 150_000, "split": 80_000, "dropped": 0},
    "reasons": {"dropped": {"empty": 30, "no_answer": 20}, "repaired": {"merged_roles": 120}},
    "total_rows": 2400,
    "total_tokens": 1_830_000,
}


def eventful(job: Job) -> None:
    """Add to the events of a run of 340 steps what else may happen. It was repaired at step 8 and
    resumed at step 200."""
    began = [
        folders.event(
            "data",
            588,
            conversations=2400,
            train=2280,
            heldout=120,
            tokens=1_830_000,
            trained_tokens=920_000,
            ledger=_LEDGER,
        ),
        folders.event(
            "template",
            589,
            strategy="once",
            checks=[{"name": "probe", "status": "ok", "detail": ""}] * 9,
        ),
        folders.event(
            "repair",
            566,
            step=8,
            what="micro_batch",
            micro_batch=2,
            accumulation=8,
            gradient_checkpointing="none",
            reason="CUDA out of memory: 1.2 GB more were asked for",
        ),
    ]
    told = [json.loads(line) for line in job.events_path.read_text().splitlines()]
    events: list[dict[str, Any]] = []
    for event in told:
        events.append(event)
        step = event.get("step")
        if event["kind"] == "plan":
            events += began[:2]
        elif event["kind"] == "step" and step == 8:
            events.append(began[2])
        elif event["kind"] == "step" and step % 50 == 0:
            events += _samples(event)
        elif event["kind"] == "checkpoint":
            event |= {"reason": "evaluation", "best": step == 300}
            events += (
                [{"t": event["t"], "kind": "checkpoint_removed", "step": step - 100}]
                if step > 100
                else []
            )
            if step == 200:
                differences = {
                    "checkpoint": "checkpoints/step-000200",
                    "forced": False,
                    "differences": [],
                }
                events.append({"t": event["t"], "kind": "resumed", "step": 200, **differences})
    job.events_path.write_text("".join(json.dumps(event) + "\n" for event in events))


def _samples(event: dict[str, Any]) -> list[dict[str, Any]]:
    step = event["step"]
    answers = [_ANSWERS[step // 50 - 1], f"I mend the sails {step // 50} times."]
    return [
        {
            "t": event["t"],
            "kind": "sample",
            "step": step,
            "index": index,
            "prompt": prompt,
            "reference": reference,
            "answer": answers[index],
        }
        for index, (prompt, reference) in enumerate(_PROMPTS)
    ]
