"""Which files of a folder are its code: rules in the manner of ``.gitignore``. Pure.

A rule is a path pattern relative to the folder. ``*`` and ``?`` stay within a name, ``**`` spans
names, ``[…]`` is a set; a slash at the end means folders only, one elsewhere ties the pattern to
the top; ``!`` takes back what an earlier rule left out. The last rule that matches decides.
Source of the syntax: git's documentation, "gitignore". What is in a folder that was left out
cannot be taken back.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

DEFAULT_RULES = (
    # Whatever tools keep beside the code: repositories, environments, caches, journals, .env.
    ".*",
    "__pycache__/",
    "node_modules/",
    "venv/",
    "*.egg-info/",
    "*.py[co]",
    # Secrets, and models.
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "id_rsa*",
    "id_ed25519*",
    "credentials.json",
    "*.gguf",
    "*.safetensors",
)


@dataclass(frozen=True)
class _Rule:
    pattern: re.Pattern[str]
    takes_back: bool
    folders_only: bool


class Ignored:
    """Rules put together, ``DEFAULT_RULES`` before all others."""

    def __init__(self, lines: Sequence[str] = ()) -> None:
        self._rules = [rule for line in (*DEFAULT_RULES, *lines) if (rule := _rule(line))]

    def leaves_out(self, path: str, *, folder: bool) -> bool:
        """Whether the file or ``folder`` at ``path``, with slashes, is left out."""
        for rule in reversed(self._rules):
            if rule.folders_only and not folder:
                continue
            if rule.pattern.fullmatch(path):
                return not rule.takes_back
        return False


def _rule(line: str) -> _Rule | None:
    text = line.rstrip()
    if not text or text.startswith("#"):
        return None
    takes_back = text.startswith("!")
    text = text.removeprefix("!").removeprefix("\\")
    folders_only = text.endswith("/")
    text = text.rstrip("/")
    tied = "/" in text
    text = text.removeprefix("/")
    if not text:
        return None
    pattern = _translated(text)
    if not tied:
        pattern = f"(?:.*/)?{pattern}"
    try:
        return _Rule(re.compile(pattern, re.DOTALL), takes_back, folders_only)
    except re.error:
        # A set with its ends the wrong way round matches nothing, in git as well.
        return None


def _translated(text: str) -> str:
    parts: list[str] = []
    at = 0
    while at < len(text):
        if text.startswith("**/", at):
            parts.append("(?:.*/)?")
            at += 3
        elif text.startswith("/**", at) and at + 3 == len(text):
            parts.append("/.*")
            at += 3
        elif text[at] == "*":
            parts.append("[^/]*")
            at += 1
        elif text[at] == "?":
            parts.append("[^/]")
            at += 1
        elif text[at] == "[" and (end := text.find("]", at + 2)) > 0:
            inner = text[at + 1 : end].replace("\\", "\\\\")
            parts.append(f"[^{inner[1:]}]" if inner[0] in "!^" else f"[{inner}]")
            at = end + 1
        else:
            at += text[at] == "\\" and at + 1 < len(text)
            parts.append(re.escape(text[at]))
            at += 1
    return "".join(parts)
