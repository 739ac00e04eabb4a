"""Whoever reads all journals as they are written, and trusts no state machine.

Each entry is judged when the first member applies it, and the state that it gave with it: who owns
what, what became of each handoff and who answered for whom, which votes count. An append that is
refused must have changed none of that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from omium.execution.events import Entry
from omium.execution.state import ExecutionState
from omium.testing.sim.handed import HandoffLaw
from omium.testing.sim.owners import OwnerLaw
from omium.testing.sim.received import ReceiptLaw
from omium.testing.sim.rounds import RoundLaw
from omium.testing.sim.stood_in import StandInLaw
from omium.testing.sim.voted import VoteLaw
from omium.types import ExecutionId


class JournalLaw:
    """What one journal promises. ``note`` and ``stands`` raise AssertionError."""

    def __init__(self, name: ExecutionId) -> None:
        self.entries: list[Entry] = []
        self._name = name
        self._owners = OwnerLaw()
        self._rounds = RoundLaw()
        self._handoffs = HandoffLaw()
        self._stand_ins = StandInLaw()
        self._votes = VoteLaw()
        # Those that judge the state as well.
        self._laws = (self._owners, self._handoffs, self._votes, ReceiptLaw(), self._stand_ins)

    @property
    def counts(self) -> Counter[str]:
        """What happened, by name; see the laws."""
        handoffs = self._handoffs.counts + self._stand_ins.counts + self._votes.counts
        return self._rounds.counts + handoffs

    def note(self, entry: Entry) -> None:
        """Judge one more entry."""
        self.entries.append(entry)
        where = f"{self._name}@{len(self.entries)}"
        assert entry.index == len(self.entries), f"{where} has the index {entry.index}"
        for law in (self._rounds, *self._laws):
            law.note(where, entry)

    def stands(self, state: ExecutionState) -> None:
        """Judge the state after all entries."""
        where = f"{self._name}@{len(self.entries)}"
        for law in self._laws:
            law.stands(where, state)


class Journals:
    """See the module's docstring. All members of a group have the same one."""

    def __init__(self) -> None:
        self._laws: dict[ExecutionId, JournalLaw] = {}
        self._applied = 0
        self._broken: AssertionError | None = None

    def applied(
        self, index: int, name: ExecutionId, entries: Sequence[Entry], state: ExecutionState | None
    ) -> None:
        """A member has applied what is at ``index`` of the log, an append to ``name`` of which
        came ``entries``, none where it was refused, and then ``state``. Raises AssertionError."""
        if index <= self._applied:
            return
        self._applied = index
        try:
            self._judge(name, entries, state)
        except AssertionError as error:
            # It is raised in a member, which may go down by it as by any failure of a disk.
            self._broken = error
            raise

    def _judge(
        self, name: ExecutionId, entries: Sequence[Entry], state: ExecutionState | None
    ) -> None:
        if state is None:
            assert name not in self._laws, f"{name} is gone"
            return
        law = self._laws.get(name)
        if law is None:
            law = self._laws[name] = JournalLaw(name)
        for entry in entries:
            law.note(entry)
        law.stands(state)

    def check(self, journals: Mapping[ExecutionId, Sequence[Entry]]) -> Counter[str]:
        """Whoever has applied everything has in its ``journals`` what was seen, and nothing else.
        What happened in them, by name. Raises AssertionError."""
        if self._broken is not None:
            raise self._broken
        seen = {name: law.entries for name, law in self._laws.items()}
        assert seen.keys() == journals.keys(), f"there are {[*journals]}, and were {[*seen]}"
        counts: Counter[str] = Counter()
        for name, law in self._laws.items():
            assert law.entries == [*journals[name]], f"the journal of {name} was another one"
            counts += law.counts
        return counts


def audit(journals: Mapping[ExecutionId, Sequence[Entry]]) -> Counter[str]:
    """Judge journals that are there already, and say what happened in them. Raises
    AssertionError."""
    counts: Counter[str] = Counter()
    for name, journal in journals.items():
        law = JournalLaw(name)
        for entry in journal:
            law.note(entry)
        counts += law.counts
    return counts
