"""How many held-out prompts another chat template renders differently: `python -P -m
serve.shipped.rendering JOB_DIRECTORY TOKENIZER_DIRECTORY`."""

from __future__ import annotations

import sys
from pathlib import Path

from jobs.luthier_error import LuthierError
from models import foreign
from models.template import Template, TemplateRefusal, load_tokenizer
from serve.certificate.measured import ORDERS_FILE, Orders


def main(directory: Path, tokenizer_directory: Path) -> None:
    orders = foreign.read(directory / ORDERS_FILE, Orders)
    tokenizer = load_tokenizer(tokenizer_directory)
    tokenizer.chat_template = (directory / "template.jinja").read_text(encoding="utf-8")
    turns = [(sample, turn) for sample in orders.samples for turn in sample.turns]
    try:
        template = Template(tokenizer, parts=False)
    except LuthierError:  # no template at all
        differing = len(turns)
    else:
        differing = 0
        for sample, turn in turns:
            try:
                text = template.text(sample.messages[: turn.message], sample.tools, prompt=True)
            except TemplateRefusal:
                differing += 1
                continue
            ids = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
            differing += ids != sample.input_ids[: turn.start]
    (directory / "template-answer.json").write_text(str(differing), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
