"""Facts that the pages state by hand, against the code that knows them: keys, recipe keys, options,
files, defaults, counts. What is generated is tested in tests/tools/test_doc_pages.py."""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest

from models import bounds
from models.events import KINDS
from models.regression_guard import DEFAULT_POINTS, DEFAULT_TEXT_LOSS, FAMILIES, TEXT
from serve.certificate.agreement import ENOUGH_TOKENS
from serve.certificate.asking import MOST_ANSWERS
from serve.certificate.turns import MOST_TOKENS, MOST_TURNS
from serve.drift.reading import ANSWER_TOKENS
from serve.keeping import KEPT_SECONDS
from serve.plan import DRAIN_SECONDS, GPU_MEMORY
from serve.recites.canaries import ALTERNATIVES
from serve.recites.judging import FEWEST
from serve.recites.passages import LONGEST, OPENING, SHORTEST
from serve.restarts import MOST_RESTARTS
from trainer.data.policies import Policies
from trainer.data.settings import Source
from trainer.data.split import Heldout
from trainer.evaluation.settings import Evaluation
from trainer.presets import presets
from trainer.recipe import Checkpoints, Recipe, Train
from trainer.recipe import keys as recipe_keys
from tui.chat.slash_commands import slash_actions
from tui.cli import luthier
from tui.key_bindings import ACTIONS
from workshop.api.plan import LARGEST_FILE
from workshop.regression.probes import luthiers_probes, passages

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
TEXTS = {page.name: page.read_text(encoding="utf-8") for page in PAGES}
WIDEST = 80
"""Characters that fit between the two columns of the site in a window of 1,220 pixels."""
_BLOCK = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`([^`\n]+)`")


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Language and lines of each block of code."""
    for indent, language, lines in _BLOCK.findall(text):
        yield language, re.sub(f"^{indent}", "", lines, flags=re.MULTILINE)


def section(page: str, title: str) -> str:
    return re.split(rf"^#+ {re.escape(title)}\n", TEXTS[page], flags=re.MULTILINE)[1].partition(
        "\n## "
    )[0]


def rows(text: str) -> Iterator[list[str]]:
    """The cells of each row of the tables, without their heads."""
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        for line in table.splitlines()[2:]:
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def prose(text: str) -> str:
    return _BLOCK.sub("", text)


# ---- code


@pytest.mark.parametrize("page", TEXTS)
def test_code_fits_a_window(page: str) -> None:
    """Longer lines are cut, with a scrollbar below. A row of JSON wraps (docs/site.css)."""
    too_long = [
        line
        for language, lines in blocks(TEXTS[page])
        for line in lines.splitlines()
        if language != "json" and len(line) > WIDEST
    ]
    assert too_long == []


def test_json_and_toml_can_be_read_and_each_key_of_a_recipe_exists() -> None:
    sections = {name: set(names) for name, names in recipe_keys().items()}
    unknown = []
    for page, text in TEXTS.items():
        for language, lines in blocks(text):
            if language == "json":
                unread = lines.strip()
                while unread:
                    unread = unread[json.JSONDecoder().raw_decode(unread)[1] :].strip()
            if language == "toml" and "[tools]" not in lines:
                unknown += [
                    f"{page}: {section}.{key}"
                    for section, names in _sections(tomllib.loads(lines)).items()
                    for key in names
                    if key not in sections.get(section, set())
                ]
    assert unknown == []


def _sections(recipe: dict[str, object]) -> dict[str, list[str]]:
    """The keys of a recipe's text by section; those outside of any are in ""."""
    keys_by_section: dict[str, list[str]] = {"": []}
    for name, value in recipe.items():
        if isinstance(value, dict):
            keys_by_section[name] = list(value)
        else:
            keys_by_section[""].append(name)
    return keys_by_section


# ---- names


def test_each_key_of_a_recipe_that_a_text_names_exists() -> None:
    sections = {name: set(keys) for name, keys in recipe_keys().items() if name not in ("", "data")}
    mentions = re.compile(rf"({'|'.join(sections)})\.(\w+)(?: = .*)?")
    unknown = [
        f"{page}: {code}"
        for page, text in TEXTS.items()
        for code in _CODE.findall(prose(text))
        if (match := mentions.fullmatch(code)) and match[2] not in sections[match[1]]
        if not code.endswith((".json", ".jsonl", ".toml"))
    ]
    assert unknown == []


def _options(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        yield from (*parameter.opts, *parameter.secondary_opts)
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            subcommand = command.get_command(context, name)
            assert subcommand is not None
            yield from _options(subcommand)


OTHER_PROGRAMS = {"--middleware", "--enforce-eager", "--api-server-count", "--output_path"}
"""Options of vLLM and of lm-eval."""


def test_each_option_that_a_text_names_is_one_of_a_command() -> None:
    options = {*_options(luthier), "--help", "--torchvision", *OTHER_PROGRAMS}
    unknown = [
        f"{page}: {code}"
        for page, text in TEXTS.items()
        for code in _CODE.findall(prose(text))
        if (match := re.match(r"--[\w-]+", code)) and match[0] not in options
    ]
    assert unknown == []


def test_each_file_of_the_repository_that_a_text_names_is_there() -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"build"}
    missing = [
        f"{page}: {code}"
        for page, text in TEXTS.items()
        for code in _CODE.findall(prose(text))
        if (match := re.match(r"([\w-]+)/[\w./-]*\w", code)) and match[1] in folders
        if not (ROOT / match[0]).exists() and "ID" not in code
    ]
    assert missing == []


def test_each_file_in_luthiers_home_that_a_text_names_is_one_of_the_code() -> None:
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for package in ("jobs", "models", "trainer", "serve", "workshop", "tui")
        for path in (ROOT / package).rglob("*.py")
    )
    mentions = {
        part
        for text in TEXTS.values()
        for path in re.findall(r"\$LUTHIER_HOME/([\w./-]*\w)", text)
        for part in path.split("/")
        if part not in ("ID", "client", "control")
    }
    assert {"trials.json", "config.toml", "cache", "chats.db"} <= mentions
    assert sorted(name for name in mentions if not re.search(rf"[\"'/]{name}[\"'/]", code)) == []


def test_each_event_that_a_text_names_is_a_kind() -> None:
    mentions = {
        (page, kind)
        for page, text in TEXTS.items()
        for kind in re.findall(r"\b(?:[Tt]he event|[Aa]n?) `(\w+)`(?= event|[ ,)]| in)", text)
        if re.search(rf"the event `{kind}`|`{kind}` event", text, re.IGNORECASE)
    }
    assert len(mentions) >= 5
    assert [each for each in sorted(mentions) if each[1] not in KINDS] == []


def test_each_command_of_the_chat_that_a_text_names_exists() -> None:
    mentions = re.findall(r"`/(\w+)`", section("scripting.md", "Chat in a terminal"))
    assert len(mentions) >= 5
    assert [name for name in mentions if name not in slash_actions()] == []


_LINK = re.compile(r"\]\(((?!https?:)[^)#]*)#?([^)]*)\)")


def slugs(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", prose(page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", each.lower())) for each in headings}


def test_each_link_of_the_pages_outside_the_site_leads_somewhere() -> None:
    """Those of the site are checked by its build."""
    links = [
        (page, ROOT / (path or page.name), anchor)
        for page in ROOT.glob("*.md")
        for path, anchor in _LINK.findall(page.read_text(encoding="utf-8"))
    ]
    assert len(links) > 50
    assert [
        (page.name, path.name, anchor)
        for page, path, anchor in links
        if not path.exists() or (anchor and anchor not in slugs(path))
    ] == []


def test_each_page_that_an_error_names_is_there_with_its_section() -> None:
    mentions = {
        mention
        for package in ("jobs", "models", "trainer", "serve", "workshop", "tui")
        for path in (ROOT / package).rglob("*.py")
        for mention in re.findall(
            r"docs/(\w+\.md)(?:, ([A-Z][\w ]+)\))?", re.sub(r'"\s+f?"', "", path.read_text("utf-8"))
        )
    }
    assert ("data.md", "Columns beside a conversation") in mentions
    headings = {name: re.findall(r"^#+ (.+)$", text, re.MULTILINE) for name, text in TEXTS.items()}
    missing = [each for each in mentions if each[1] and each[1] not in headings.get(each[0], ())]
    assert missing == [] and {page for page, _ in mentions} <= set(TEXTS)


# ---- keys of the app

_SPELT = {f"^{letter}": f"ctrl+{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"}
_PLACES = {
    ("compare.md", "Talking"): ("chat",),
    ("runs.md", "Watching a run"): ("run",),
    ("board.md", "Runs: columns, order, baseline"): ("runs",),
    ("board.md", "Settings (8)"): ("settings",),
    ("data.md", "Inspecting data"): ("data",),
}
"""The tables of keys."""


def keys_of(*places: str) -> set[str]:
    names = {key for action in ACTIONS if action.place in places for key in action.key_names}
    return (
        names
        | {_SPELT[name] for name in names if name in _SPELT}
        | {name.replace("^", "ctrl+") for name in names}
    )


@pytest.mark.parametrize(("page", "title"), _PLACES, ids=lambda name: name)
def test_the_keys_of_a_table_are_those_of_its_screen(page: str, title: str) -> None:
    first_cells = [cells[0] for cells in rows(section(page, title))]
    keys = [key for cell in first_cells for key in _CODE.findall(cell) if " " not in key]
    assert len(keys) >= 3
    keys_of_place = keys_of(*_PLACES[page, title], "app")
    assert [key for key in keys if key not in keys_of_place] == []


_ON_SCREEN = re.compile(
    r"`(\S{1,9})`\s+on\s+(?:the\s+)?(Runs|Models|Serve|Chat|Data|Compare|home|new-run)\b"
)


def test_a_key_on_a_screen_is_one_of_that_screen() -> None:
    mentions = [
        (page, *mention) for page, text in TEXTS.items() for mention in _ON_SCREEN.findall(text)
    ]
    assert len(mentions) >= 8
    assert [
        (page, key, screen)
        for page, key, screen in mentions
        if key not in keys_of(screen.lower().replace("-", "_"))
    ] == []


# ---- tables


def test_the_table_of_policies_has_each_with_its_default() -> None:
    policies = dict(zip(Policies.__struct_fields__, Policies.__struct_defaults__, strict=True))
    documented = {cells[0].strip("`"): cells[2] for cells in rows(section("data.md", "Policies"))}
    assert documented == {
        name: default
        for name, default in policies.items()
        if name not in ("max_messages", "near_similarity")
    }


def test_the_table_of_a_recipes_keys_has_their_defaults() -> None:
    """Also in the rows that are written by hand."""
    sections = {"": Recipe(data=[Source("x")])} | {
        name: getattr(Recipe(data=[Source("x")]), name) for name in recipe_keys() if name
    }
    section, compared = "", []
    for first, default, _ in rows(TEXTS["recipe.md"].partition("## Every key")[2]):
        if heading := re.fullmatch(r"\*\*`(\w+)`\*\*", first):
            section = heading[1]
        elif first not in ("`data`", "`path`, `weight`", "`name`", "`after_run`"):
            names, documented = _CODE.findall(first), default.replace("`", "").split(", ")
            for name, text in zip(names, documented * (len(names) // len(documented)), strict=True):
                value = getattr(sections[section], name)
                if not isinstance(value, msgspec.Struct | None):
                    compared.append((f"{section}.{name}", text, json.dumps(value)))
        if first == "`project`":  # the last key; tables of other sections follow
            break
    assert len(compared) > 80
    assert [each for each in compared if each[1] != each[2]] == []


def test_the_table_of_recipes_to_start_from_has_each() -> None:
    documented = [cells[0].strip("`") for cells in rows(TEXTS["recipes.md"])]
    assert sorted(documented) == sorted(preset.name for preset in presets())


def test_the_table_of_probes_counts_each_family() -> None:
    documented = {
        cells[0].strip("`"): int(cells[1].split()[0])
        for cells in rows(section("guard.md", "What is asked"))
    }
    counted = Counter(probe.family for probe in luthiers_probes())
    assert documented == {family: counted[family] for family in FAMILIES} | {TEXT: len(passages())}


# ---- figures

_WORDS = {2: "two", 3: "three", 10: "ten"}
_FIGURES = [
    ("api.md", f"up to {LARGEST_FILE // 10**6} MB (`--largest-file`)"),
    ("certificate.md", f"{MOST_TURNS} turns, or {MOST_TOKENS:,} tokens at most"),
    ("certificate.md", f"up to {MOST_ANSWERS} greedy answers"),
    ("certificate.md", f"| `tokens compared` | | {ENOUGH_TOKENS} |"),
    ("data.md", f"{Heldout().share:.0%}, at least {Heldout().at_least}".replace("%", " %")),
    ("data.md", f"at most {Heldout().at_most}, never more than a quarter"),
    ("data.md", f"`max_messages` ({Policies().max_messages})"),
    ("data.md", f"`near_similarity` ({Policies().near_similarity})"),
    ("data.md", f"sandbox with {bounds.SECONDS:.0f} seconds, {bounds.MEMORY_BYTES >> 30} GiB"),
    ("data.md", f"{bounds.LONGEST_TEXT // 10**6} million characters per conversation"),
    ("guard.md", f"{DEFAULT_POINTS:.0f} for each family that is not named"),
    ("guard.md", f"text_loss = {DEFAULT_TEXT_LOSS} "),
    ("recites.md", f"the answer's first {OPENING} tokens"),
    ("recites.md", f"its next {LONGEST} tokens exactly"),
    ("recites.md", f"at least {SHORTEST} tokens are left"),
    ("recites.md", f"its likelihood with {ALTERNATIVES} texts"),
    ("recites.md", f"| `answers compared` | | {FEWEST} |"),
    ("recites.md", f"greedy answers of up to {ANSWER_TOKENS} tokens"),
    ("recipe.md", f"these are {_WORDS[Evaluation().samples]} held-out prompts"),
    ("runs.md", f"every {_WORDS[int(Checkpoints().every_minutes)]} minutes, at a stop"),
    ("runs.md", f"The best one and the last {_WORDS[Checkpoints().keep]} are kept"),
    ("serve.md", f"at most {_WORDS[MOST_RESTARTS]} times an hour"),
    ("serve.md", f"up to {DRAIN_SECONDS:.0f} seconds to finish its answers"),
    ("serve.md", f"GPU: {GPU_MEMORY:.0%} of its memory".replace("%", " %")),
    ("serve.md", f"asked it anything for {KEPT_SECONDS / 60:.0f} minutes"),
    ("troubleshooting.md", f"(the default is {Train().global_batch})"),
]


@pytest.mark.parametrize(("page", "words"), _FIGURES)
def test_a_figure_of_a_sentence_is_the_codes(page: str, words: str) -> None:
    assert words in " ".join(TEXTS[page].split())
