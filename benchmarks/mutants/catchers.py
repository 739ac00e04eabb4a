"""Who notices a planted bug, by name: seeds of the simulator, or a test.

Owns the spelling alone; ``child`` runs them.
"""

from __future__ import annotations

SEEDS = ("sim",)


def node(file: str, name: str) -> str:
    """The id by which pytest knows the test ``name`` of ``tests/<file>.py``."""
    return f"tests/{file}.py::{name}"
