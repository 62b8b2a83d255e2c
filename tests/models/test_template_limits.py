"""A chat template is a stranger's program: what it may not do, and in which words that is said."""

from __future__ import annotations

import copy
import resource
import signal
import time

import pytest

from jobs.luthier_error import LuthierError
from models import bounds
from models.template import Template, TemplateRefusal
from tests.models.corpus import tokenizer_for

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("transformers")]

ASKED = [{"role": "user", "content": "Hello"}]
LOOP = (
    "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor"
    " %}{% endfor %}{% endfor %}"
)
NUMBER = "{{ 10 ** 99999999 }}"


def template(text: str) -> Template:
    tokenizer = copy.deepcopy(tokenizer_for("chatml", template=text))
    return Template(tokenizer, parts=False)


@pytest.mark.parametrize(
    "text", [LOOP, NUMBER, "{% if messages|length > 0 %}" + LOOP + "{% endif %}"]
)
def test_one_that_does_not_finish_is_ended(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "SECONDS", 0.3)
    with pytest.raises(bounds.OutOfBounds, match="did not finish one conversation"):
        template(text).text(ASKED)


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'a' * 10 ** 11 }}",
        "{{ '%100000000000d' % 1 }}",
        "{{ 'a'|center(10 ** 11) }}",
        (
            "{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(60) %}{% set ns.s = ns.s ~"
            " ns.s %}{% endfor %}"
        ),
        (
            "{% set ns = namespace(s=[1, 2, 3]) %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s"
            " %}{% endfor %}"
        ),
    ],
)
def test_one_that_takes_all_memory_is_ended(text: str) -> None:
    with pytest.raises(bounds.OutOfBounds, match="more than 1 GiB"):
        template(text).text(ASKED)


def test_one_that_writes_too_much_is_ended() -> None:
    with pytest.raises(bounds.OutOfBounds, match="60,000,000 characters"):
        template("{{ 'a' * 60000000 }}").text(ASKED)


def test_what_is_ended_leaves_no_limit_and_no_alarm_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "SECONDS", 0.3)
    before = (resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGALRM))
    for text in (LOOP, "{{ 'a' * 10 ** 11 }}", "{{ raise_exception('no') }}"):
        with pytest.raises((bounds.OutOfBounds, TemplateRefusal)):
            template(text).text(ASKED)
    assert (resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGALRM)) == before
    assert template("{{ messages[0]['content'] }}").text(ASKED) == "Hello"


@pytest.mark.parametrize(
    "text",
    [
        "{% for m in messages %}\n{{ m['content'] }}\n{% endif %}",
        "{{ messages",
        "{% nonsense %}",
        "{{ 'a }}",
    ],
)
def test_a_syntax_error_is_told_with_its_line(text: str) -> None:
    with pytest.raises(LuthierError) as refused:
        template(text)
    assert refused.value.title == "The chat template has a syntax error"
    assert refused.value.message.startswith(f"Line {3 if 'endif' in text else 1}: ")


def test_each_conversation_of_many_has_its_own_time_and_what_is_between_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounds, "SECONDS", 0.3)
    quick, endless = template("{{ messages[0]['content'] }}"), template(LOOP)
    with bounds.bounded():
        for _ in range(3):
            assert quick.text(ASKED) == "Hello"
            time.sleep(0.4)
        with pytest.raises(bounds.OutOfBounds):
            endless.text(ASKED)
        assert quick.text(ASKED) == "Hello"
    with pytest.raises(bounds.OutOfBounds, match="more than 1 GiB"), bounds.bounded():
        template("{{ 'a' * 10 ** 11 }}").text(ASKED)
