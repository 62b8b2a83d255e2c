"""Each kind of fault, as figures: the check that must see it does, with the right reason, and
nothing else cries."""

from __future__ import annotations

import msgspec
import pytest

from models.certificate import Check
from serve.certificate import checks
from serve.certificate.checks import Evidence
from serve.certificate.measured import Answer, Broken, Reference, Rendered, Scores, Served
from serve.certificate.turns import PROBES, Sample, Turn

STOP, OTHER_STOP = 2, 0
TALK = [
    {"role": role, "content": f"Text {number}."}
    for number, role in enumerate(("user", "assistant", "user", "assistant"))
]
# Two prompts of 3 and 8 tokens, two answers that end with STOP.
SAMPLE = Sample(
    [1, 5, 6, 7, STOP, 1, 5, 6, 8, 9, STOP], TALK, [Turn(3, 5, 1), Turn(8, 11, 3)], False
)
SAMPLES = [SAMPLE] * 60
PROMPTS: list[list[int] | None] = [[1, 5, 6], [1, 5, 6, 7, STOP, 1, 5, 6]] * 60
COUNT = len(SAMPLES) * len(SAMPLE.scored)
BASE = Scores([-2.0] * COUNT, [7] * COUNT, 0.125)
TUNED = Scores([-1.0] * COUNT, [8] * COUNT, 0.125)
ENDED = [Answer(True, 20)] * 8


def near(scores: Scores, nats: float = 0.04) -> Scores:
    """The same model in another program: each token differs, the mean does not."""
    values = [
        value + (nats if number % 2 else -nats)
        for number, value in enumerate(scores.log_probabilities)
    ]
    return msgspec.structs.replace(scores, log_probabilities=values, resolution=None)


def reference(**changed: object) -> Reference:
    sound = Reference(
        base=BASE,
        tuned=TUNED,
        merged=near(TUNED),
        prompts=PROMPTS,
        probes=[[4, 4], [4, 5], None],
        stop_ids=[STOP],
        merged_stop_ids=[STOP],
        dated=False,
        versions={},
    )
    return msgspec.structs.replace(sound, **changed)


def evidence() -> Evidence:
    """Everything as it should be, with a merged model."""
    rendered = Rendered(
        [list(prompt or []) for prompt in PROMPTS],
        [[4, 4], [4, 5], "This template knows no tools."],
    )
    return Evidence(
        samples=SAMPLES,
        probes=PROBES,
        changes={"base weights": [], "chat template": [], "adapter": []},
        has_merged=True,
        merged_changes=[],
        reference=reference(),
        rendered=rendered,
        base=Served(scores=near(BASE), answers=[Answer(False, 60)] * 4 + [Answer(True, 30)] * 4),
        tuned=Served(scores=near(TUNED), answers=ENDED),
        merged=Served(scores=near(TUNED), answers=ENDED),
        merged_rendered=rendered,
    )


def not_green(of: Evidence) -> dict[str, Check]:
    return {check.name: check for check in checks.all_checks(of) if check.verdict != "green"}


def test_a_sound_model_is_green_and_every_check_says_why() -> None:
    found = checks.all_checks(evidence())
    assert {check.verdict for check in found} == {"green"}
    names = [check.name for check in found]
    assert len(names) == len(set(names))
    for check in found:
        assert (
            check.sentence.endswith((".", ". "))
            and check.figure is not None
            and check.threshold is not None
        )
    columns = {(column.model, column.engine): column for column in checks.columns(evidence())}
    assert columns["base", "vLLM"].stopped == 4 and columns["tuned", "transformers"].nll == 1.0


def test_template_swapped_after_training() -> None:
    broken = evidence()
    swapped = [[3, *(prompt or [])] for prompt in PROMPTS]
    broken.changes = {**(broken.changes or {}), "chat template": ["its text has changed"]}
    broken.reference = reference(prompts=swapped)
    broken.rendered = broken.merged_rendered = Rendered([*swapped], [[4, 4], [4, 5], "no"])
    found = not_green(broken)
    assert set(found) == {"exact bytes, chat template", "token ids", "token ids, merged"}
    assert (
        found["token ids"].verdict == "red" and "has changed since" in found["token ids"].sentence
    )
    assert found["token ids"].figure == len(PROMPTS)


def test_server_renders_in_another_way() -> None:
    broken = evidence()
    broken.rendered = Rendered(
        [[1, *(prompt or [])] for prompt in PROMPTS], [[1, 4, 4], [4, 5], "no"]
    )
    found = not_green(broken)
    assert "differently from the trainer" in found["token ids"].sentence
    assert "several turns" in found["token ids, probes"].sentence


def test_server_refuses_the_training_data() -> None:
    broken = evidence()
    broken.rendered = Rendered(
        ["Conversation roles must alternate"] * len(PROMPTS), [[4, 4], [4, 5], "no"]
    )
    assert "Conversation roles must alternate" in not_green(broken)["token ids"].sentence


def test_a_date_in_the_template_and_a_lost_scaffold_are_amber() -> None:
    for dated, words in ((True, "date"), (False, "thinking scaffold")):
        odd = evidence()
        grown = [[*(prompt or []), 77] for prompt in PROMPTS]
        odd.reference = reference(prompts=grown, dated=dated)
        odd.rendered = Rendered([*grown], [[4, 4], [4, 5], "no"])
        check = not_green(odd)["token ids"]
        assert check.verdict == "amber" and words in check.sentence


def test_adapter_zeroed() -> None:
    broken = evidence()
    broken.reference = reference(tuned=BASE, merged=BASE)
    broken.tuned = broken.merged = Served(scores=near(BASE), answers=ENDED)
    found = not_green(broken)
    assert {name for name, check in found.items() if check.verdict == "red"} == {
        "adapter effect, transformers",
        "adapter effect, vLLM",
    }
    assert "weights are zero" in found["adapter effect, transformers"].sentence


def test_stop_id_removed() -> None:
    broken = evidence()
    broken.reference = reference(merged_stop_ids=[OTHER_STOP])
    broken.merged = Served(scores=near(TUNED), answers=[Answer(False, 60, ran_past=STOP)] * 8)
    found = not_green(broken)
    assert set(found) == {
        "stop tokens, merged",
        "stopping, merged, past the end",
        "stopping, merged",
    }
    assert {check.verdict for check in found.values()} == {"red"}
    assert "end with token 2" in found["stop tokens, merged"].sentence


def test_stop_ids_that_cannot_be_read_are_told_with_the_reason() -> None:
    broken = evidence()
    broken.reference = reference(merged_stop_ids=Broken("Tokenizer not readable: it is cut off"))
    not_green_now = not_green(broken)
    assert set(not_green_now) == {"stop tokens, merged"}
    assert not_green_now["stop tokens, merged"].sentence == (
        "The stop tokens of the merged model cannot be read: Tokenizer not readable: it is cut off."
    )


def test_answers_that_seldom_end_are_amber_and_few_are_never_red() -> None:
    def verdict(ended: int, of: int) -> str:
        answers = [Answer(number < ended, 50) for number in range(of)]
        return checks.stopping("tuned", answers, [], None)[-1].verdict

    assert [verdict(8, 8), verdict(4, 8), verdict(3, 8), verdict(0, 8), verdict(0, 3)] == [
        "green",
        "green",
        "amber",
        "red",
        "amber",
    ]
    assert checks.stopping("tuned", [], [], None)[0].verdict == "amber"


def test_a_server_is_not_blamed_for_a_model_that_has_not_learnt_to_end_its_answers() -> None:
    endless = [Answer(False, 60)] * 8
    learnt = [STOP if position in (4, 10) else 7 for position in SAMPLE.scored] * len(SAMPLES)
    for first, verdict in ((TUNED.first, "amber"), (learnt, "red")):
        scores = msgspec.structs.replace(TUNED, first=first)
        served = evidence()
        served.reference = reference(tuned=scores, merged=near(scores))
        served.tuned = served.merged = Served(scores=near(scores), answers=endless)
        failing = not_green(served)
        assert {name: check.verdict for name, check in failing.items()} == {
            "stopping, tuned": verdict,
            "stopping, merged": verdict,
        }
        assert ("only 0% of the held-out answers" in failing["stopping, tuned"].sentence) == (
            verdict == "amber"
        )


def test_tied_head_lost_in_the_merged_model() -> None:
    broken = evidence()
    broken.reference = reference(merged=Broken("its files lack lm_head.weight"))
    broken.merged = broken.merged_rendered = None
    found = not_green(broken)
    assert set(found) == {"merged, transformers, agreement"}
    assert "its files lack lm_head.weight" in found["merged, transformers, agreement"].sentence


def test_merged_model_of_the_base_alone() -> None:
    broken = evidence()
    broken.reference = reference(merged=near(BASE))
    broken.merged = Served(scores=near(BASE), answers=ENDED)
    assert {check.name for check in not_green(broken).values() if check.verdict == "red"} >= {
        "merged, transformers, log-probs",
        "merged, transformers, top-1",
        "merged, vLLM, mean NLL",
    }


def test_a_merged_model_that_differs_points_to_the_adapter_only_where_that_agrees() -> None:
    way_out = "vLLM with the adapter agrees: serve the adapter instead."
    rounded = Scores([-1.07] * COUNT, [8] * COUNT, None)
    broken = evidence()
    broken.reference = reference(merged=rounded)
    broken.merged = Served(scores=rounded, answers=ENDED)
    found = not_green(broken)
    assert found["merged, transformers, log-probs"].verdict == "amber"
    gravest = found.pop("merged, transformers, mean NLL")
    assert gravest.verdict == "red" and gravest.sentence.endswith(way_out)
    assert way_out not in " ".join(check.sentence for check in found.values())
    broken.tuned = Served(scores=near(BASE), answers=ENDED)
    assert way_out not in " ".join(check.sentence for check in not_green(broken).values())


def test_merged_shard_that_cannot_be_read() -> None:
    broken = evidence()
    broken.merged_changes = [
        "model.safetensors is cut off or damaged: its tensors end at byte 100, the file at byte 50"
    ]
    broken.reference = reference(merged=None)
    broken.merged = broken.merged_rendered = None
    found = not_green(broken)
    assert set(found) == {"exact bytes, merged", "merged model"}
    assert "cut off" in found["exact bytes, merged"].sentence


def test_base_that_cannot_be_read_or_run() -> None:
    broken = evidence()
    broken.reference = broken.rendered = broken.base = broken.tuned = broken.merged = (
        broken.merged_rendered
    ) = None
    assert not_green(broken)["base model"].verdict == "red"
    broken.reference = reference(base=Broken("unknown architecture"), tuned=None)
    assert "unknown architecture" in not_green(broken)["base model"].sentence
    assert checks.columns(broken) != []


def test_adapter_that_vllm_does_not_take_needs_a_merge() -> None:
    odd = evidence()
    odd.tuned, odd.unservable = None, "vLLM takes plain LoRA only; this has use_dora."
    assert not_green(odd) == {}  # there is a merged model
    odd.has_merged, odd.merged = False, None
    odd.reference, odd.merged_rendered = reference(merged=None), None
    check = not_green(odd)["vLLM + adapter"]
    assert check.verdict == "amber" and "use_dora" in check.sentence


def test_adapter_of_another_shape() -> None:
    broken = evidence()
    broken.reference = reference(tuned=Broken("size mismatch for q_proj"))
    check = not_green(broken)["adapter effect, transformers"]
    assert check.verdict == "red" and "size mismatch" in check.sentence


@pytest.mark.parametrize(
    "changes",
    [
        None,
        {
            "tokenizer": ["tokenizer.json has changed"],
            "adapter": ["adapter_model.safetensors has changed"],
        },
    ],
)
def test_bytes(changes: dict[str, list[str]] | None) -> None:
    found = {check.name: check for check in checks.exact_bytes(changes) if check.verdict != "green"}
    if changes is None:
        assert found["exact bytes"].verdict == "amber"
    else:
        assert {check.verdict for check in found.values()} == {"red"}
        assert "is not what the run made: adapter_model" in found["exact bytes, adapter"].sentence
        assert (
            "is not what the run was trained on: tokenizer.json"
            in found["exact bytes, tokenizer"].sentence
        )


def test_a_merged_model_without_a_receipt_is_amber() -> None:
    odd = evidence()
    odd.merged_changes = None
    assert {name: check.verdict for name, check in not_green(odd).items()} == {
        "exact bytes, merged": "amber"
    }


def test_everything_trained_has_no_prompts_to_compare() -> None:
    whole = evidence()
    whole.samples = [Sample(SAMPLE.input_ids[: len(SAMPLE.scored) + 1], TALK, [], True)] * 60
    whole.reference = reference(prompts=[])
    whole.rendered, whole.merged_rendered = Rendered([], [[4, 4], [4, 5], "no"]), None
    assert not_green(whole)["token ids"].verdict == "amber"


def test_an_adapter_that_vllm_ignores_is_named_and_served_merged() -> None:
    """Red without a merged model; with one it says what is served in its place."""
    ignored = evidence()
    ignored.tuned = Served(scores=near(BASE), answers=ENDED)
    alone = evidence()
    alone.tuned, alone.has_merged, alone.merged, alone.merged_changes = (
        ignored.tuned,
        False,
        None,
        None,
    )
    before, after = not_green(alone)["adapter effect, vLLM"], not_green(ignored)
    assert before.verdict == "red" and "vLLM ignores the adapter" in before.sentence
    assert list(after) == ["adapter effect, vLLM"]
    assert after["adapter effect, vLLM"].verdict == "amber"
    assert "Luthier serves the merged model instead." in after["adapter effect, vLLM"].sentence
