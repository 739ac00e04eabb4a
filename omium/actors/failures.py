"""From an exception that ended an attempt to the failure that is put on record. Pure."""

from __future__ import annotations

import traceback
from typing import Any

from omium.errors import AgentError, OmiumError, rebuilt
from omium.execution.records import Failure
from omium.types import AgentName

MESSAGE_CHARS_MAX = 2_000
TRACEBACK_CHARS_MAX = 8_000


def failure_of(
    error: BaseException,
    agent: AgentName,
    step: str,
    *,
    model_error: tuple[str, list[Any]] | None,
    gateway_lost: bool,
) -> Failure:
    """Why an attempt failed, and whose fault it is.

    Frameworks wrap what happens beneath them in errors of their own. So what the runtime saw
    itself counts first: an Omium error anywhere in the chain of causes, a gateway that went
    away, the last failure that the gateway reported (``model_error``).
    """
    known = known_in(error, model_error=model_error, gateway_lost=gateway_lost)
    return Failure(
        kind=known.kind,
        message=str(known)[:MESSAGE_CHARS_MAX],
        error_type=type(error).__name__,
        agent=agent,
        step=step,
        retryable=known.exit_code not in (2, 3),
        traceback="".join(traceback.format_exception(error))[-TRACEBACK_CHARS_MAX:],
    )


def known_in(
    error: BaseException, *, model_error: tuple[str, list[Any]] | None, gateway_lost: bool
) -> OmiumError:
    """The error of Omium's that ``error`` comes down to; an ``AgentError`` where it is of the
    user's code."""
    known = next((e for e in _chain(error) if isinstance(e, OmiumError)), None)
    if known is None and gateway_lost:
        known = rebuilt("unavailable", [f"the gateway went away: {error}"])
    if known is None and model_error is not None:
        known = rebuilt(*model_error)
    return known or AgentError(f"{type(error).__name__}: {error}")


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    return chain
