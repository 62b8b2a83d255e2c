"""Which texts are surely of which language: `python -P -m workshop.comparison.language_worker`,
JSON in, JSON out. Heavy: the model of languages loads numpy."""

from __future__ import annotations

import json
import sys

from jobs import foreign_json
from workshop.making.languages import sure_language


def main() -> None:
    asked = foreign_json.decode_object(sys.stdin.read(), "standard input", lenient=True)
    json.dump({"languages": [sure_language(text) for text in asked["texts"]]}, sys.stdout)


if __name__ == "__main__":
    main()
