"""What can be done in lists and logs, on whichever screen they are."""

from __future__ import annotations

from tui.shared.action import Action

LISTS: list[Action] = [
    Action("list.cursor_up", "up", "Go to the row above.", "up,k"),
    Action("list.cursor_down", "down", "Go to the row below.", "down,j"),
    Action("list.first", "first", "Go to the first row.", "home,g"),
    Action("list.last", "last", "Go to the last row.", "end,G"),
    Action("list.page_up", "page up", "A page up.", "pageup,ctrl+u"),
    Action("list.page_down", "page down", "A page down.", "pagedown,ctrl+d"),
]

LOGS: list[Action] = [
    Action(
        "log.line_up",
        "up",
        "Scroll up a line; the view then stays where it is while the log grows.",
        "up,k",
    ),
    Action("log.line_down", "down", "A line down.", "down,j"),
    Action("log.page_up", "page up", "A page up.", "pageup,ctrl+u"),
    Action("log.page_down", "page down", "A page down.", "pagedown,ctrl+d"),
    Action("log.top", "top", "Go to the first line.", "home,g"),
    Action("log.follow", "follow", "Go to the end of the log and follow it.", "end,G,f"),
]

SEARCH: list[Action] = [
    Action(
        "search.raw", "raw log", "Show every line as it was printed, or fold the noise again.", "i"
    ),
    Action("search.find", "find", "Search the log for a text.", "slash"),
    Action("search.find_next", "next match", "Go to the next line with the text.", "n"),
    Action("search.find_previous", "match before", "Go to the previous line with the text.", "N"),
]
