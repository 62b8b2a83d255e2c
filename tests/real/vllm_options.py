"""`python -m tests.real.vllm_options`: serve/vllm_options.toml as this vLLM's parser would have
it."""

from __future__ import annotations

import argparse

from vllm import __version__
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser


def section(action: argparse.Action) -> str:
    if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction):
        return "no-value"
    return "one-value" if action.nargs in (None, "?") else "values"


def main() -> None:
    actions = make_arg_parser(FlexibleArgumentParser())._actions
    print(
        f"# The flags of vLLM {__version__}: python -m tests.real.vllm_options >"
        " serve/vllm_options.toml"
    )
    for name in ("no-value", "one-value", "values"):
        print(f"\n[{name}]")
        for action in sorted(actions, key=lambda action: action.dest):
            if action.option_strings and section(action) == name:
                flags = ", ".join(f'"{flag}"' for flag in sorted(action.option_strings))
                print(f"{action.dest} = [{flags}]")


if __name__ == "__main__":
    main()
