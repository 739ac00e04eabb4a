"""Tools of definitions that the AutoGen tests run. Imports nothing of AutoGen."""

from __future__ import annotations

from datetime import date
from typing import Any

from pydantic import BaseModel

from omium.frameworks.effect import effect_key
from tests.actors.gates import gate_of


def rate(principal: float, interest: float, years: float = 1) -> dict[str, float]:
    """Compute a rate."""
    return {"rate": 100 * interest / principal / years}


async def rate_async(principal: float, interest: float) -> dict[str, float]:
    """Compute a rate, on a loop."""
    return rate(principal, interest)


class Loan(BaseModel):
    principal: float
    starts: date


def lend(loan: Loan, note: str = "é") -> Loan:
    """Lend, a year later."""
    assert note == "é"
    return loan.model_copy(update={"starts": loan.starts.replace(year=loan.starts.year + 1)})


def held(till: str) -> str:
    """Note the effect key at a gate and be held there."""
    gate_of(till).hold(effect_key())
    return "let go"


def noted(till: str) -> dict[str, str]:
    """Note the effect key at a gate."""
    gate_of(till).note(effect_key())
    return {"said": "noted"}


def broken(till: str) -> str:
    """Raise, every time."""
    gate_of(till).note("ran")
    raise ValueError("no such account")


def unfit(till: str) -> Any:
    """Return what JSON cannot carry."""
    return object()


def leaves(till: str) -> str:
    """Want to leave the process."""
    raise SystemExit(3)


def unknown_type(thing: gate_of) -> str:  # pyright: ignore
    """Take what no schema describes."""
    return str(thing)
