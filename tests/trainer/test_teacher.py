"""Recipes that learn from a teacher: who that is, whose tokens it must have, and what goes
together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.luthier_error import LuthierError
from models import endpoints
from tests.trainer.shapes import llama
from trainer import resume, teacher
from trainer.plan import objectives
from trainer.plan.compute import Compute
from trainer.plan.learning_rate import learning_rate
from trainer.plan.memory.predict import Setting, predict
from trainer.plan.memory.shape import read_shape
from trainer.recipe import Recipe, load, parse


def recipe(objective: str = "", top: str = "") -> Recipe:
    text = f'data = "d.jsonl"\n{top}\n[objective]\nkind = "distill"\n{objective}'
    return parse(text, "r.toml")


def model(folder: Path, *tokens: str, size: str = "135m") -> Path:
    """A model's folder with a vocabulary of these tokens."""
    llama(folder, size)
    vocabulary = {token: number for number, token in enumerate(tokens or ("a", "b", "c"))}
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize(
    ("objective", "top", "message"),
    [
        ("", "gpus = 2", "one GPU, but gpus = 2"),
        ("[train]\npadding_free = true", "", "train.padding_free = true"),
        ("[train]\nfloat8 = true", "", "float8"),
        ('[tokens]\ntemplate = "chatml"', "", "[tokens]"),
    ],
)
def test_what_does_not_go_together_says_why(objective: str, top: str, message: str) -> None:
    with pytest.raises(LuthierError) as error:
        objectives.check(recipe(objective, top))
    assert message in error.value.message
    assert error.value.hint


def test_a_teacher_that_nobody_asks_is_refused() -> None:
    wrong = parse('data = "d.jsonl"\n[objective]\nkind = "dpo"\nteacher = "x"', "r.toml")
    with pytest.raises(LuthierError, match=r"objective\.teacher is set"):
        objectives.check(wrong)
    objectives.check(recipe('teacher = "x"'))


def test_without_a_name_or_with_nobodys_there_is_no_teacher(tmp_path: Path) -> None:
    with pytest.raises(LuthierError, match=r"needs objective\.teacher"):
        teacher.teacher_of(recipe())
    with pytest.raises(LuthierError, match="'nobody': no run, model"):
        teacher.teacher_of(recipe('teacher = "nobody"'))


def test_a_path_is_relative_to_the_recipe(tmp_path: Path) -> None:
    model(tmp_path / "large")
    path = tmp_path / "r.toml"
    path.write_text('data = "d.jsonl"\n[objective]\nkind = "distill"\nteacher = "./large"\n')
    local = teacher.teacher_of(load(path))
    assert isinstance(local, teacher.LocalTeacher)
    assert local.base == tmp_path / "large"


def test_an_endpoint_goes_by_its_address_or_its_name() -> None:
    endpoints.add(endpoints.HostedEndpoint("far", "https://example.org/v1", key_env="KEY"))
    hosted = teacher.teacher_of(recipe('teacher = "far"\nteacher_model = "m"'))
    assert isinstance(hosted, teacher.EndpointTeacher)
    assert hosted.title == "m at https://example.org/v1"
    by_address = teacher.teacher_of(recipe('teacher = "http://localhost:1/v1"'))
    assert isinstance(by_address, teacher.EndpointTeacher)


@pytest.mark.parametrize(
    ("key", "message"), [("on_policy = 0.5", "on_policy = 0.5"), ("temperature = 0.7", "= 0.7")]
)
def test_an_endpoint_tells_too_little_for_some_keys(tmp_path: Path, key: str, message: str) -> None:
    with pytest.raises(LuthierError, match="sampled token alone") as error:
        teacher.check(recipe(f'teacher = "http://localhost:1/v1"\n{key}'), tmp_path)
    assert message in error.value.message


def test_another_vocabulary_is_refused_with_figures(tmp_path: Path) -> None:
    student = model(tmp_path / "small")
    teacher.check(recipe(f'teacher = "{model(tmp_path / "same")}"'), student)
    other = model(tmp_path / "other", "a", "c", "b", "d")
    with pytest.raises(LuthierError) as error:
        teacher.check(recipe(f'teacher = "{other}"'), student)
    assert "differ in 3 tokens: the student has 3" in error.value.message
    assert "'b' is 1 here and 2 there" in error.value.message


def test_equal_vocabularies_hash_alike_in_any_order() -> None:
    assert teacher.vocabulary_hash({"a": 0, "b": 1}) == teacher.vocabulary_hash({"b": 1, "a": 0})
    assert teacher.vocabulary_hash({"a": 0, "b": 1}) != teacher.vocabulary_hash({"a": 1, "b": 0})


def test_what_a_run_starts_from_teaches_it_nothing(tmp_path: Path) -> None:
    student = model(tmp_path / "m")
    self_teaching = f'teacher = "{student}"'
    with pytest.raises(LuthierError, match="nothing to learn from"):
        teacher.check(recipe(self_teaching, f'model = "{student}"'), student)
    quantised = recipe(f"{self_teaching}\n[train]\nbase_bits = 4", f'model = "{student}"')
    teacher.check(quantised, student)  # the model before it was quantised


def test_warnings_have_figures(tmp_path: Path) -> None:
    student, small = model(tmp_path / "m", size="8b"), model(tmp_path / "s")
    (small / "chat_template.jinja").write_text("{{ other }}")
    warnings = teacher.warnings(recipe(f'teacher = "{small}"\non_policy = 0'), student, 100)
    assert [
        warning for warning in warnings if "smaller" in warning and "163 against 8,030" in warning
    ]
    assert [warning for warning in warnings if "another chat template" in warning]
    assert [warning for warning in warnings if "on_policy = 0" in warning]
    assert teacher.warnings(recipe(f'teacher = "{student}"'), student, 100) == []


def test_a_teacher_takes_memory_and_a_rate_of_its_own(tmp_path: Path) -> None:
    student = model(tmp_path / "m")
    shape = read_shape(student)
    assert shape is not None

    def weights(distillation: Recipe) -> int:
        return predict(shape, Setting.of(distillation, "trl", Compute()).holding(1000, 4)).weights

    usual = parse('data = "d.jsonl"', "r.toml")
    distilled = recipe(f'teacher = "{student}"')
    assert weights(distilled) == weights(usual) + 2 * shape.parameters
    rate = learning_rate(distilled, 8_000_000_000)
    assert rate.value == pytest.approx(0.5 * learning_rate(usual, 8_000_000_000).value)
    assert "on-policy distillation" in rate.reason
    assert objectives.step_cost(distilled) > 2


def test_a_run_does_not_go_on_with_a_teacher_that_has_changed(tmp_path: Path) -> None:
    student, large = model(tmp_path / "m"), model(tmp_path / "large")
    distillation = recipe(f'teacher = "{large}"')
    before = resume.fingerprint(tmp_path, distillation, student, {})
    assert resume.differences(before, resume.fingerprint(tmp_path, distillation, student, {})) == []
    with (large / "model.safetensors").open("ab") as file:
        file.write(b"x")
    now = resume.fingerprint(tmp_path, distillation, student, {})
    assert resume.differences(before, now) == ["teacher: model.safetensors has changed"]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ('sampler = "nobody"', "no endpoint of this name"),
        ('sampler = "http://localhost:1/v1"\n[train]\nmethod = "full"', "loads an adapter"),
        ('sampler = "http://localhost:1/v1"\n[lora]\ndora = true', "lora.dora = true"),
    ],
)
def test_a_server_that_cannot_sample_is_refused(tmp_path: Path, key: str, message: str) -> None:
    student = model(tmp_path / "m")
    with pytest.raises(LuthierError) as error:
        teacher.check(recipe(f'teacher = "{model(tmp_path / "large")}"\n{key}'), student)
    assert message in error.value.message


def test_a_run_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    """Which knew no teachers."""
    student = model(tmp_path / "m")
    sft_recipe = parse('data = "d.jsonl"', "r.toml")
    before = resume.fingerprint(tmp_path, sft_recipe, student, {})
    newer = ("objective.teacher", "objective.sampler", "objective.on_policy")
    old = {key: value for key, value in before["recipe"].items() if key not in newer}
    resume.write(tmp_path, {**before, "recipe": old})
    assert resume.recorded(tmp_path) == before
    resume.check_possible("run", resume.recorded(tmp_path), before)
