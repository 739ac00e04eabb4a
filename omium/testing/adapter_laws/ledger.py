"""Tools of the laws' subjects: they note that they ran, under the name that they are given.

``book`` and ``pay`` do the same; only the first is declared idempotent. ``refuse`` always fails,
and ``inquire`` asks a person.
"""

from __future__ import annotations

import secrets
from typing import Any

from omium.frameworks.effect import effect_key
from omium.frameworks.people import ask

HERE = "omium.testing.adapter_laws.ledger"
TOOLS: list[dict[str, Any]] = [
    {"name": "book", "function": f"{HERE}:book", "idempotent": True},
    {"name": "pay", "function": f"{HERE}:pay"},
    {"name": "refuse", "function": f"{HERE}:refuse"},
    {"name": "inquire", "function": f"{HERE}:inquire", "idempotent": True},
]
QUESTION = "Which colour?"
REFUSAL = "the ledger is closed"

_ledgers: dict[str, list[str | None]] = {}


def new_ledger() -> str:
    """The name of an empty one. It can be found in whatever text it stands."""
    name = f"ledger-{secrets.token_hex(6)}"
    _ledgers[name] = []
    return name


def noted(ledger: str) -> list[str | None]:
    """The effect keys of the calls that ran, in order."""
    return _ledgers[ledger]


def book(ledger: str) -> str:
    """Book in a ledger."""
    _ledgers[ledger].append(effect_key())
    return "booked"


def pay(ledger: str) -> str:
    """Pay from a ledger."""
    return book(ledger)


def refuse(ledger: str) -> str:
    """Try to book in a ledger."""
    book(ledger)
    raise ValueError(REFUSAL)


def inquire(ledger: str) -> str:
    """Ask a person, and book in a ledger what was answered."""
    answer = ask(QUESTION)
    book(ledger)
    return f"the answer is {answer}"
