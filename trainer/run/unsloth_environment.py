"""Imports Unsloth, which patches torch, transformers, peft and trl and must therefore come before
them. It reads this from the environment when it is imported: no usage statistics, and its compiled
kernels in Luthier's home."""

from __future__ import annotations

import os

from jobs.home import home

os.environ["UNSLOTH_DISABLE_STATISTICS"] = "1"
os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", str(home() / "cache" / "unsloth"))

import unsloth  # noqa: F401
