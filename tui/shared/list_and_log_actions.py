"""What can be done in lists and logs, on whichever screen they are."""

from __future__ import annotations

from tui.shared.action import Action

LISTS: list[Action] = [
    Action("list.cursor_up", "up", "The row above.", "up,k"),
    Action("list.cursor_down", "down", "The row below.", "down,j"),
    Action("list.first", "first", "The first row.", "home,g"),
    Action("list.last", "last", "The last row.", "end,G"),
    Action("list.page_up", "page up", "A page up.", "pageup,ctrl+u"),
    Action("list.page_down", "page down", "A page down.", "pagedown,ctrl+d"),
]

LOGS: list[Action] = [
    Action("log.line_up", "up", "A line up; the log stays where it is while it grows.", "up,k"),
    Action("log.line_down", "down", "A line down.", "down,j"),
    Action("log.page_up", "page up", "A page up.", "pageup,ctrl+u"),
    Action("log.page_down", "page down", "A page down.", "pagedown,ctrl+d"),
    Action("log.top", "top", "The first line.", "home,g"),
    Action(
        "log.follow", "follow", "Go to the end of the log and stay there as it grows.", "end,G,f"
    ),
]

SEARCH: list[Action] = [
    Action("search.raw", "raw log", "Every line as it was printed, or folded again.", "i"),
    Action("search.find", "find", "Look for a text in the log.", "slash"),
    Action("search.find_next", "next match", "The next line with the text.", "n"),
    Action("search.find_previous", "match before", "The line with the text before.", "N"),
]
