"""The root of the tree of errors.

Owns what all errors have: a kind, an exit code, a text. Blames nobody, and knows none of the
errors below it.
"""

from __future__ import annotations

from typing import ClassVar


class OmiumError(Exception):
    """Base of all errors that Omium raises on purpose.

    ``kind`` is a stable snake_case name: the ``kind`` of a failure record, and the last part
    of a problem type over HTTP.
    """

    kind: ClassVar[str] = "internal"
    exit_code: ClassVar[int] = 1

    def __str__(self) -> str:
        return " ".join(str(part) for part in self.args) or self.kind
