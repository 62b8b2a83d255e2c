"""The README's picture: `python -m bench.picture [--url URL --key-file FILE --models BASE TUNED]
[--out docs/chat.svg]`.

Runs the real app without a terminal, asks two questions of two models, waits for the answers and
saves what the screen shows. Without a URL it takes the newest of Luthier's own servers.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from textual.pilot import Pilot

from serve.chats.turns import ChatSettings, Failed, Speaker
from serve.client import Endpoint, Sampling
from tui.app import LuthierApp
from tui.chat.screen import ChatScreen
from workshop.chat.server import ChatServer, newest_server

SIZE = (120, 34)
PROMPTS = ["What should I do on a rainy day?", "Can you tell me something about your work?"]
SECONDS = 300.0


async def wait(condition: Callable[[], bool], description: str) -> None:
    ends = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > ends:
            sys.exit(f"no {description} within {SECONDS:.0f} s")
        await asyncio.sleep(0.1)


async def talk(pilot: Pilot[None], prompts: list[str], settings: ChatSettings) -> None:
    await wait(
        lambda: (
            isinstance(pilot.app.screen, ChatScreen)
            and pilot.app.screen.session.reachable.server is not None
        ),
        "server",
    )
    screen = pilot.app.screen
    assert isinstance(screen, ChatScreen)
    screen.use_settings(settings)
    prompt = screen.prompt
    prompt.cursor_blink = False
    for text in prompts:
        prompt.text = text
        await pilot.press("enter")
        await wait(lambda: not screen.session.answering, "answer")
        for pane in screen.session.panes:
            state = pane.answers[-1].state
            if isinstance(state, Failed):
                sys.exit(str(state.error))
    await pilot.pause()


async def picture(
    server: ChatServer, prompts: list[str], settings: ChatSettings, theme: str, out: Path
) -> None:
    LuthierApp.MODES["chat"] = lambda: ChatScreen(lambda: server)
    app = LuthierApp(start_screen="chat")
    async with app.run_test(size=SIZE) as pilot:
        app.theme = theme
        await talk(pilot, prompts, settings)
        app.save_screenshot(out.name, str(out.parent))
    print(out)


def main() -> None:
    parser = argparse.ArgumentParser(description="The README's picture, from a real server.")
    parser.add_argument(
        "--url", help="base URL, without /v1 (default: the newest of Luthier's servers)"
    )
    parser.add_argument("--key-file", type=Path, help="file with the client key")
    parser.add_argument(
        "--models",
        nargs=2,
        metavar=("BASE", "TUNED"),
        help="the two models (default: the server's own order)",
    )
    parser.add_argument("--prompt", action="append", help="once for each prompt")
    parser.add_argument("--system", default="")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--max-tokens", type=int, default=120)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--theme", default="luthier-dark")
    parser.add_argument("--out", type=Path, default=Path("docs/chat.svg"))
    arguments = parser.parse_args()
    if arguments.url:
        if not (arguments.key_file and arguments.models):
            parser.error("--url needs --key-file and --models")
        base, tuned = arguments.models
        server = ChatServer(
            Endpoint(arguments.url, arguments.key_file.read_text().strip()),
            (Speaker(base), Speaker(tuned, "tuned")),
        )
    else:
        running = newest_server()
        if running is None:
            sys.exit("no server of Luthier's is running")
        speaker_of = {speaker.model: speaker for speaker in running.speakers}
        speakers = (
            tuple(speaker_of[name] for name in arguments.models)
            if arguments.models
            else running.default_speakers()
        )
        server = ChatServer(running.endpoint, speakers, running.context_length)
    settings = ChatSettings(
        arguments.system,
        Sampling(arguments.temperature, 0.95, arguments.max_tokens, arguments.seed),
    )
    # A home of its own, so that neither saved colours nor running jobs show.
    with (
        tempfile.TemporaryDirectory() as home,
        patch.dict("os.environ", {"LUTHIER_HOME": home, "TEXTUAL_ANIMATIONS": "none"}),
    ):
        asyncio.run(
            picture(
                server,
                arguments.prompt or PROMPTS,
                settings,
                arguments.theme,
                arguments.out.absolute(),
            )
        )


if __name__ == "__main__":
    main()
