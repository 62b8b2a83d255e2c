"""Every picture of docs/ that shows the app: `python -m tools.pictures` makes them of the recording
(see recorded_home.py), with the app as it is now. Look at them afterwards."""

from __future__ import annotations

import os

os.environ["TEXTUAL_ANIMATIONS"] = "none"  # before textual is imported

import asyncio

from tools.pictures.docs_pictures import DOCS, pictures


def main() -> None:
    for name, svg in asyncio.run(pictures()).items():
        path = DOCS / name
        path.write_text(svg)
        print(f"{path.relative_to(DOCS.parent)}  {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
