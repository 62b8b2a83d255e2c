"""The style sheets that dialogs of several rooms share.

Textual resolves a relative CSS_PATH beside the file of the subclass, which may be in another room.
"""

from __future__ import annotations

from pathlib import Path

DIALOGS = Path(__file__).with_name("dialogs.tcss")
PICK = Path(__file__).with_name("pick.tcss")
