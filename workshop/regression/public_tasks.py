"""Rows of public benchmarks, as their authors publish them, as probes: IFEval, GSM8K, MMLU-Pro.

Scores of these depend on template and wording, so that only differences between two models that are
asked alike mean anything; leaderboards have other figures.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

_GSM8K_TOKENS, _MMLU_TOKENS, _IFEVAL_TOKENS = 512, 512, 768
_LANGUAGES = frozenset(
    [
        "ar",
        "de",
        "el",
        "en",
        "es",
        "fr",
        "he",
        "hi",
        "it",
        "ja",
        "ko",
        "nl",
        "pl",
        "pt",
        "ru",
        "sv",
        "th",
        "tr",
        "zh",
    ]
)
_ANSWERS = ["My answer is yes.", "My answer is no.", "My answer is maybe."]
Row = dict[str, Any]


def as_probe(row: Row, number: int) -> Row | None:
    """A row of a benchmark as a probe; a row of another kind as it is. None where an instruction of
    IFEval cannot be checked."""
    if "instruction_id_list" in row and "kwargs" in row:
        return _ifeval(row, number)
    if isinstance(row.get("options"), list) and isinstance(row.get("question"), str):
        return _mmlu_pro(row, number)
    if isinstance(row.get("question"), str) and "####" in str(row.get("answer")):
        return _gsm8k(row, number)
    return row


def _gsm8k(row: Row, number: int) -> Row:
    value = str(row["answer"]).rpartition("####")[2].strip().replace(",", "")
    return {
        "id": f"gsm8k-{number:04}",
        "family": "gsm8k",
        "prompt": f"{row['question']}\nThink step by step, and end with the number alone.",
        "expect": {"last_number": float(value) if re.fullmatch(r"-?\d+(\.\d+)?", value) else value},
        "max_tokens": _GSM8K_TOKENS,
    }


def _mmlu_pro(row: Row, number: int) -> Row:
    options = [str(option) for option in row["options"]]
    lines = "\n".join(f"{chr(65 + index)}. {option}" for index, option in enumerate(options))
    return {
        "id": f"mmlu-pro-{row.get('question_id', number)}",
        "family": "mmlu-pro",
        "prompt": f"{row['question']}\n{lines}\n"
        'Think step by step, and end with "The answer is X", where X is the letter.',
        "expect": {"choice": str(row.get("answer", ""))},
        "max_tokens": _MMLU_TOKENS,
    }


def _ifeval(row: Row, number: int) -> Row | None:
    expect: Row = {}
    arguments = row["kwargs"] if isinstance(row["kwargs"], list) else []
    for name, values in zip(row["instruction_id_list"], arguments, strict=False):
        check = _INSTRUCTIONS.get(str(name))
        expected = None
        if check is not None and isinstance(values, dict):
            try:
                expected = check(values)
            except (KeyError, TypeError, ValueError):
                return None
        if expected is None or expected.keys() & expect.keys():
            return None
        expect |= expected
    if not expect:
        return None
    return {
        "id": f"ifeval-{row.get('key', number)}",
        "family": "ifeval",
        "prompt": row.get("prompt"),
        "expect": expect,
        "max_tokens": _IFEVAL_TOKENS,
    }


def _span(count: Any, relation: Any) -> Row:
    if relation == "less than":
        return {"at_most": int(count) - 1}
    return {"at_least": int(count)}


def _at_least(pattern: str, count: Any) -> str:
    return rf"(?:{pattern}[\s\S]*?){{{int(count)}}}"


def _language(values: Row) -> Row | None:
    code = str(values["language"])
    return {"language": code} if code in _LANGUAGES else None


_INSTRUCTIONS: dict[str, Callable[[Row], Row | None]] = {
    "keywords:existence": lambda v: {"all_of": v["keywords"]},
    "keywords:forbidden_words": lambda v: {"none_of": v["forbidden_words"]},
    "keywords:frequency": lambda v: {
        "count": {"text": v["keyword"], "at_least": 0, **_span(v["frequency"], v["relation"])}
    },
    "keywords:letter_frequency": lambda v: {
        "count": {
            "text": v["letter"],
            "at_least": 0,
            **_span(v["let_frequency"], v["let_relation"]),
        }
    },
    "language:response_language": _language,
    "length_constraints:number_sentences": lambda v: {
        "sentences": _span(v["num_sentences"], v["relation"])
    },
    "length_constraints:number_words": lambda v: {"words": _span(v["num_words"], v["relation"])},
    "detectable_content:number_placeholders": lambda v: {
        "matches": _at_least(r"\[[^\[\]]*\]", v["num_placeholders"])
    },
    "detectable_content:postscript": lambda v: {"contains": [v["postscript_marker"]]},
    "detectable_format:number_bullet_lists": lambda v: {
        "listing": {
            "kind": "bulleted",
            "at_least": int(v["num_bullets"]),
            "at_most": int(v["num_bullets"]),
        }
    },
    "detectable_format:number_highlighted_sections": lambda v: {
        "matches": _at_least(r"\*[^\n*]+\*", v["num_highlights"])
    },
    "detectable_format:multiple_sections": lambda v: {
        "count": {"text": v["section_spliter"], "at_least": int(v["num_sections"])}
    },
    "detectable_format:constrained_response": lambda _: {"any_of": _ANSWERS},
    "detectable_format:json_format": lambda _: {"json": {}},
    "detectable_format:title": lambda _: {"matches": r"<<[^\n]+>>"},
    "combination:two_responses": lambda _: {"matches": r"\*{6}"},
    "combination:repeat_prompt": lambda v: {"starts_with": v["prompt_to_repeat"]},
    "startend:end_checker": lambda v: {"ends_with": v["end_phrase"]},
    "startend:quotation": lambda _: {"quoted": True},
    "change_case:english_capital": lambda _: {"letters": "upper"},
    "change_case:english_lowercase": lambda _: {"letters": "lower"},
    "punctuation:no_comma": lambda _: {"lacks": [","]},
}
