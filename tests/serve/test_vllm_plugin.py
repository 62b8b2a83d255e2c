"""What Luthier mends in vLLM, on values as vLLM has them."""

from __future__ import annotations

import json
from typing import Any

from serve.vllm_plugin import names_before_arguments


def test_a_call_reaches_the_template_in_the_order_in_which_it_is_written() -> None:
    """vLLM has the keys in the order of OpenAI's types; a template may write a call as JSON."""

    def prepare(messages: list[dict[str, Any]]) -> None:
        for call in messages[1]["tool_calls"]:
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])

    function = {"arguments": '{"city": "Sonborg"}', "name": "weather", "more": 1}
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "How is it there?"},
        {
            "role": "assistant",
            "tool_calls": [{"id": "a", "function": function, "type": "function"}],
        },
    ]
    names_before_arguments(prepare)(messages)
    assert json.dumps(messages[1]["tool_calls"]) == (
        '[{"id": "a", "type": "function", "function": {"name": "weather",'
        ' "arguments": {"city": "Sonborg"}, "more": 1}}]'
    )
    assert messages[0] == {"role": "user", "content": "How is it there?"}
