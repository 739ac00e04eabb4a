"""Who orders commands: a replica that is alone, or a group by its leader.

Everything above sees one interface: hand over commands, and be told what became of them once
they can be lost no more; ask whether what is applied here is as new as the question.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from omium.consensus import Member, ProgressState
from omium.errors import CorruptRecord, OmiumError, PlatformError
from omium.execution.commands import Command, encode_command
from omium.storage.replica import Outcome, Replica

log = logging.getLogger(__name__)

CommitResult: TypeAlias = Outcome | OmiumError
"""What became of a command: written, refused, or not committed for the error given."""

Settled = Callable[[Sequence[CommitResult]], None]
"""Told one result for each command."""


Distrust = Callable[[CorruptRecord, Callable[[], None]], None]
"""``Order.distrust``."""


class Order(Protocol):
    """See the module's docstring. What is called back must not raise."""

    def carry_out(self, commands: Sequence[Command], settled: Settled) -> None:
        """Order, apply and make durable ``commands``, one after the other.

        ``settled`` may be called before this returns. An error may leave open whether a command
        is carried out later; so a command must be such that it can be given again.
        """
        ...

    @property
    def followers(self) -> int:
        """How many others have a vote and keep up, as far as the leader knows."""
        ...

    def confirm(self, then: Callable[[OmiumError | None], None]) -> None:
        """Tell ``then`` once the applied state is as new as this call, or why it may not be."""
        ...

    def distrust(self, error: CorruptRecord, otherwise: Callable[[], None]) -> None:
        """What was read here is not what was written. Where somebody else has it whole, this one
        gives way to them; else ``otherwise`` is called."""
        ...


class Alone:
    """A group of one: a batch is one transaction, and what is applied is all there is."""

    followers = 0

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    def carry_out(self, commands: Sequence[Command], settled: Settled) -> None:
        results: Sequence[CommitResult]
        try:
            results = self._replica.commit(commands)
        except OmiumError as error:
            log.error("a batch of %d commands was not committed: %s", len(commands), error)
            results = [error] * len(commands)
        except Exception as error:
            # A defect: nothing was written, and whoever waits must hear of it all the same.
            log.exception("a batch of %d commands was not committed", len(commands))
            fault = PlatformError(f"the coordinator failed: {type(error).__name__}: {error}")
            results = [fault] * len(commands)
        settled(results)

    def confirm(self, then: Callable[[OmiumError | None], None]) -> None:
        then(None)

    def distrust(self, error: CorruptRecord, otherwise: Callable[[], None]) -> None:
        otherwise()


class InGroup:
    """A group of several, by its member here. Only the leader carries anything out."""

    def __init__(self, member: Member[Outcome], distrust: Distrust) -> None:
        self._member = member
        self._distrust = distrust

    def carry_out(self, commands: Sequence[Command], settled: Settled) -> None:
        results: dict[int, CommitResult] = {}

        def take(place: int, result: CommitResult | None) -> None:
            results[place] = result or PlatformError("a command was applied without a result")
            if len(results) == len(commands):
                _called(lambda: settled([results[place] for place in range(len(commands))]))

        for place, command in enumerate(commands):
            self._member.propose(
                encode_command(command), lambda result, place=place: take(place, result)
            )

    @property
    def followers(self) -> int:
        status = self._member.status()
        return sum(
            progress.state is ProgressState.REPLICATE and not progress.is_learner
            for node_id, progress in status.progress.items()
            if node_id != status.id
        )

    def confirm(self, then: Callable[[OmiumError | None], None]) -> None:
        self._member.read(lambda error: _called(lambda: then(error)))

    def distrust(self, error: CorruptRecord, otherwise: Callable[[], None]) -> None:
        self._distrust(error, otherwise)


def _called(work: Callable[[], None]) -> None:
    """A defect in what follows from a commit must not stop the member that others count on."""
    try:
        work()
    except Exception:
        log.exception("what follows from a commit failed")
