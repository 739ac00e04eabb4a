"""Transcripts of a session: commands, each followed by what it printed.

    === the title of a case
    # a remark
    $ a command
    what it printed, any number of lines

Every case begins anew. Lines before the first case are a comment and stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

_CASE = "=== "
_COMMAND = "$ "
_REMARK = "# "


def check_sessions(path: Path, begin: Callable[[], Callable[[str], str]], *, rewrite: bool) -> None:
    """Each command of ``path`` prints what the file says. ``begin`` starts a case and returns
    what answers its commands. With ``rewrite`` the file is changed instead."""
    text = path.read_text(encoding="utf-8")
    told: list[str] = []
    answer: Callable[[str], str] | None = None
    for line in text.splitlines():
        if line.startswith(_CASE):
            answer = begin()
            if told and told[-1]:
                told.append("")
            told.append(line)
        elif answer is None or line.startswith(_REMARK):
            told.append(line)
        elif line.startswith(_COMMAND):
            told.append(line)
            told += answer(line.removeprefix(_COMMAND)).splitlines()
    assert answer is not None, f"no case in {path.name}"
    if rewrite:
        path.write_text("\n".join(told) + "\n", encoding="utf-8")
    else:
        assert told == text.splitlines()
