"""What is wrong with a definition, as one line for each mistake.

Owns the shape of a problem and the words that describe a value or suggest a name. It finds
no mistakes itself: the modules that do hand their findings to :func:`lines`.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

Path: TypeAlias = "tuple[str | int, ...]"
"""Where in a definition: keys of mappings and indexes of lists, from the top."""

MAX_FOUND_CHARS = 60
MAX_LISTED_NAMES = 12
MAX_COMPARED_NAMES = 256
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_$-]+")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One mistake.

    ``missing`` marks a key that should be there and is not; ``meant`` is, for an unknown key,
    the known one that it resembles. Together they keep a mistyped key from being told twice.
    ``line`` is set only where the place is in the text but in no value (a syntax error).
    """

    path: Path
    text: str
    missing: bool = False
    meant: str | None = None
    line: int | None = None


def lines(problems: Iterable[Problem], where: Mapping[Path, int] | None = None) -> tuple[str, ...]:
    """Problem lines in the order of the text: ``line 14: agents[1].framework: found …``.

    ``where`` holds the line (from 1) of each place that the text has; without it the lines
    carry the place alone, in the order given.
    """
    found = list(problems)
    mistyped = {(*p.path[:-1], p.meant) for p in found if p.meant is not None}
    kept = [p for p in found if not (p.missing and p.path in mistyped)]
    numbered = [(p.line or _line_of(p.path, where or {}), p) for p in kept]
    numbered.sort(key=lambda pair: (pair[0], _rank(pair[1].path) if pair[0] else ()))
    texts = [_text(line, problem) for line, problem in numbered]
    return tuple(dict.fromkeys(texts))


def _rank(path: Path) -> tuple[tuple[int, str], ...]:
    return tuple((part, "") if isinstance(part, int) else (-1, part) for part in path)


def _line_of(path: Path, where: Mapping[Path, int]) -> int:
    for end in range(len(path), -1, -1):
        line = where.get(path[:end])
        if line is not None:
            return line
    return 0


def _text(line: int, problem: Problem) -> str:
    place = place_of(problem.path)
    head = [f"line {line}"] if line else []
    return ": ".join([*head, *([place] if place else []), problem.text])


def place_of(path: Path) -> str:
    """``agents[1].tools[0]``; a key with other characters is quoted: ``properties['a.b']``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{shortened(repr(part))}]"
    return text


def described(value: object) -> str:
    """What was found, in at most about sixty characters and in the words of YAML and JSON."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return shortened(repr(value[: MAX_FOUND_CHARS + 1]))
    if isinstance(value, int) and value.bit_length() > 200:
        return "a number of more than 60 digits"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    return f"a Python {type(value).__name__}"


def shortened(text: str) -> str:
    """``text`` in at most :data:`MAX_FOUND_CHARS` characters, with an ellipsis where cut."""
    return text if len(text) <= MAX_FOUND_CHARS else text[: MAX_FOUND_CHARS - 1] + "…"


def listed(names: Iterable[str]) -> str:
    """``a, b, c``, cut after a dozen; ``none`` where there are no names."""
    every = list(names)
    more = len(every) - MAX_LISTED_NAMES
    shown = [shortened(name) for name in every[:MAX_LISTED_NAMES]]
    return ", ".join(shown + ([f"and {more} more"] if more > 0 else [])) or "none"


def resembling(name: str, names: Iterable[str]) -> str | None:
    """The one of ``names`` that ``name`` was probably meant to be."""
    # Comparing is quadratic in the length and linear in the names: both are cut.
    others = itertools.islice((n for n in names if n != name), MAX_COMPARED_NAMES)
    close = difflib.get_close_matches(name[:100], list(others), n=1)
    return close[0] if close else None


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """`` (did you mean 'crewai'?)``, or nothing where no name comes close."""
    close = resembling(name, names)
    return f" (did you mean {close!r}?)" if close else ""
