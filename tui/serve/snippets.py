"""How to ask the server from outside: examples that can be pasted as they are. They sample as
Luthier's chat does, since at the API's own temperature, 1, a small model talks nonsense."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Literal

Language = Literal["curl", "python", "llm"]
LANGUAGES: tuple[Language, ...] = ("curl", "python", "llm")


def snippet(
    language: Language, base_url: str, model: str, key_file: Path, key: str | None = None
) -> str:
    """Without `key`, the example reads the key from its file."""
    ways = {"curl": _curl, "python": _python, "llm": _llm}
    return ways[language](base_url, model, key_file, key)


def _curl(base_url: str, model: str, key_file: Path, key: str | None) -> str:
    bearer = key or f"$(cat {shlex.quote(str(key_file))})"
    return "\n".join(
        [
            f"curl {base_url}/v1/chat/completions \\",
            f'  -H "Authorization: Bearer {bearer}" \\',
            "  -H 'Content-Type: application/json' \\",
            f"""  -d '{{"model": "{model}", "temperature": 0.7,""",
            """       "messages": [{"role": "user", "content": "Hello!"}]}'""",
        ]
    )


def _python(base_url: str, model: str, key_file: Path, key: str | None) -> str:
    return "\n".join(
        [
            "from openai import OpenAI",
            f'key = "{key}"' if key else f"key = open({str(key_file)!r}).read().strip()",
            f'client = OpenAI(base_url="{base_url}/v1", api_key=key)',
            f'answer = client.chat.completions.create(model="{model}", temperature=0.7,',
            '    messages=[{"role": "user", "content": "Hello!"}])',
            "print(answer.choices[0].message.content)",
        ]
    )


def _llm(base_url: str, model: str, key_file: Path, key: str | None) -> str:
    """llm (llm.datasette.io) learns of a model from a file beside its logs."""
    bearer = key or f"$(cat {shlex.quote(str(key_file))})"
    return "\n".join(
        [
            f'llm keys set luthier --value "{bearer}"',
            """cat >> "$(dirname "$(llm logs path)")/extra-openai-models.yaml" <<END""",
            f"- model_id: {model}",
            f"  model_name: {model}",
            f"  api_base: {base_url}/v1",
            "  api_key_name: luthier",
            "END",
            f"llm -m {model} -o temperature 0.7 'Hello!'",
        ]
    )
