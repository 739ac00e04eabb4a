"""Transcript files: cases of an input and the output that is expected for it.

    === the title of a case
    input, any number of lines
    >>>
    expected output, any number of lines

Lines before the first case are a comment and stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

_CASE = "=== "
_OUTPUT = ">>>"


def check(path: Path, answer: Callable[[str], str], *, rewrite: bool) -> None:
    """Each case of ``path`` has the output that ``answer`` gives for its input.

    With ``rewrite`` the file is changed instead to say what ``answer`` says.
    """
    head, *cases = ("\n" + path.read_text(encoding="utf-8")).split("\n" + _CASE)
    assert cases, f"no case in {path.name}"
    told = [head.removeprefix("\n")]
    for case in cases:
        title, _, body = case.partition("\n")
        text, marker, expected = body.partition(_OUTPUT + "\n")
        output = answer(text)
        if not rewrite:
            assert marker, f"{path.name}: {title}: no line {_OUTPUT}"
            assert output.splitlines() == expected.strip("\n").splitlines(), title
        told.append(f"{title}\n{text}{_OUTPUT}\n{output}\n")
    if rewrite:
        path.write_text(("\n" + _CASE).join(told), encoding="utf-8")
