"""Asking a validator about what is handed over: a function of the user's, run in the worker.

It turns whatever the function does into a vote. What the votes come to, and what judges have
said, is decided in ``execution.handoffs``.
"""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Callable, Sequence
from typing import Any

from omium.execution.records import Ballot, Vote
from omium.execution.votes import NO_REASON
from omium.frameworks.entrypoints import load_entrypoint
from omium.frameworks.threads import in_thread
from omium.types import Json

log = logging.getLogger(__name__)

REASON_CHARS_MAX = 1_000
"""A longer reason is cut: it goes into the journal and into every view of the execution."""

_EXPECTED = "True, False, or one of these and a reason"


async def vote_of(validator: str, output: Json, import_paths: Sequence[str]) -> Vote:
    """The vote of ``validator``, ``package.module:function``, about ``output``.

    The function gets a copy of the output and returns whether it is for it, or that and why. One
    that raises, or returns anything else, is against it. Raises ``EntrypointError`` where there
    is no such function: that is a mistake, and nobody's vote.
    """
    function = await in_thread(load_entrypoint, validator, import_paths)
    try:
        ballot, reason = _read(await _called(function, copy.deepcopy(output)))
    except (Exception, SystemExit) as error:
        log.info("validator %s raised", validator, exc_info=error)
        ballot, reason = "against", f"{type(error).__name__}: {error}"
    return Vote(validator=validator, ballot=ballot, reason=reason[:REASON_CHARS_MAX])


async def _called(function: Callable[[Json], Any], output: Json) -> Any:
    if inspect.iscoroutinefunction(function):
        return await function(output)
    answer = await in_thread(function, output)
    return await answer if inspect.isawaitable(answer) else answer


def cut(vote: Json) -> Json:
    """What a judge hands over, with its reason no longer than that of a function. So it is small
    enough to stand in the journal itself, where whoever counts the votes reads it."""
    match vote:
        case {"reason": str(reason)}:
            return {**vote, "reason": reason[:REASON_CHARS_MAX]}
        case _:
            return vote


def _read(answer: Any) -> tuple[Ballot, str]:
    match answer:
        case True | (True, None):
            return "for", ""
        case False | (False, None):
            return "against", NO_REASON
        case (bool() as is_for, str() as reason):
            return ("for", reason) if is_for else ("against", reason or NO_REASON)
        case _:
            return "against", f"it returned {type(answer).__name__}, expected {_EXPECTED}"
