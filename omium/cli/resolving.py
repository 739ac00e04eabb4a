"""What ``resume`` says to an execution that waits: a decision, an answer, an approval.

Owns how that is written on the command line. Whether it fits is told before anything is
started; the coordinator decides it once more.
"""

from __future__ import annotations

import getpass
import json
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from omium.actors import messages as m
from omium.actors.answers import decision_of
from omium.cli.places import Place
from omium.cli.telling import how_to_decide
from omium.definitions import value_problems
from omium.errors import Conflict, ExecutionPaused, InputError
from omium.execution.people import kind_of
from omium.execution.records import Decision, Payload
from omium.execution.state import CallState, ExecutionState
from omium.types import Json

ANSWER_BYTES_MAX = 4 * 1024 * 1024
DECISIONS: tuple[Decision, ...] = get_args(Decision)


def decision_named(
    decide: str | None, answer: str | None, *, approve: bool, deny: bool
) -> Decision | None:
    """The decision that the options of a command amount to. Raises ``InputError``."""
    named: list[Decision] = [d for d in DECISIONS if d == decide]
    if decide is not None and not named:
        raise InputError(f"--decide {decide!r}: expected {', '.join(DECISIONS)}")
    named.extend(["approve"] if approve else [])
    named.extend(["deny"] if deny else [])
    named.extend(["answer"] if answer is not None and decide != "answer" else [])
    if len(named) > 1:
        raise InputError(f"{' and '.join(named)} at once: expected one of them")
    if named == ["answer"] and answer is None:
        raise InputError("--decide answer goes with --answer")
    return named[0] if named else None


def somebody() -> str:
    """Who is at the terminal, for the journal."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "cli"


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """What is said. ``answer`` is as it was written; ``call`` 0 means the first that waits."""

    decision: Decision | None
    answer: str | None
    reason: str
    call: int

    def check(self, state: ExecutionState, place: Place) -> None:
        """Raise what keeps ``state`` from going on with this: ``ExecutionPaused`` where it says
        nothing and something is waited for, ``AnswerError``, ``Conflict`` or ``InputError``."""
        message = m.Resume(
            execution_id=state.id,
            decision=self.decision,
            answer=Payload(inline=self.value(state)) if self.decision == "answer" else None,
            call=self.call,
            reason=self.reason,
        )
        try:
            decision_of(state, message)
        except Conflict as conflict:
            if self.decision is not None or state.pause is None:
                raise
            how = how_to_decide(state.id, place, state.pause.reason)
            raise ExecutionPaused(state.id, f"{state.pause.detail}; {how}") from conflict

    def value(self, state: ExecutionState) -> Json:
        """The answer as JSON. A question takes plain text, too. Raises ``InputError``."""
        if self.answer is None:
            return None
        text = _text_of(self.answer)
        call = self._call(state)
        takes_text = call is not None and kind_of(call) == "question"
        schema = call.question.schema if call is not None and call.question is not None else None
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            if not takes_text:
                raise InputError(f"--answer {self.answer!r} is not JSON: {error}") from error
            return text
        if takes_text and schema is not None and value_problems(schema, value):
            # A text that happens to read as JSON, such as 42.
            return value if value_problems(schema, text) else text
        return value

    def _call(self, state: ExecutionState) -> CallState | None:
        index = self.call or (state.pause.call if state.pause is not None else 0)
        found = state.call_at(index) if index else next(iter(state.questions), None)
        return found[1] if found is not None else None


def _text_of(answer: str) -> str:
    if not answer.startswith("@"):
        return answer
    path = Path(answer[1:])
    try:
        with path.open("rb") as file:
            data = file.read(ANSWER_BYTES_MAX + 1)
        if len(data) > ANSWER_BYTES_MAX:
            raise InputError(f"{str(path)!r} is over {ANSWER_BYTES_MAX} bytes")
        return data.decode()
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{str(path)!r} is not UTF-8: {error}") from error
