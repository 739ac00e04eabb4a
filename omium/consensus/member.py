"""One member of a group at work: goes round the Ready loop, and keeps who waits for what.

It owns the order of things: what is sent before a write and what only after it, when a proposal
is told what became of it, when a read may be served, and when this member may call itself the
leader. It knows no sockets, no files and no clock; those are its ``Host`` and its ``LogStore``.
The runtime and the simulator drive this same code.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from omium.consensus.config import Config
from omium.consensus.log_store import Batch, LogStore
from omium.consensus.messages import Message
from omium.consensus.raw_node import RawNode, Ready, Status
from omium.consensus.records import (
    NONE,
    ConfChange,
    ConfChangeV2,
    ConfState,
    Entry,
    EntryType,
    decode_conf_change,
)
from omium.consensus.state import Role
from omium.consensus.suspicion import Suspicion
from omium.errors import (
    CorruptRecord,
    InvariantBroken,
    NotLeading,
    OmiumError,
    PeerUnknown,
    PlatformError,
    ProtocolError,
    RequestDropped,
    Unavailable,
)

R = TypeVar("R")

WAITING_MAX = 16_384
"""Proposals, and reads, that may wait in one member; more are refused."""

PROPOSED_AT_ONCE_MAX = 512

APPLY_BEHIND_MAX = 256
"""Committed entries that a follower may have before it that it has not applied."""

RETRY_TICKS = 10
"""Ticks after which a write that failed is tried again."""

READ_TICKS = 10
"""Ticks after which a read that was not confirmed is asked for again."""


class Host(Protocol):
    """What is around a member. These must not raise, and only proposals and reads may be asked
    for before they return."""

    def send(self, message: Message) -> None:
        """Send to ``message.to``, or lose it. A snapshot message must be reported on."""
        ...

    def wake(self) -> None:
        """Let ``Member.work`` be called soon, once for any number of these."""
        ...

    def led(self, term: int) -> None:
        """This member leads now, and its state holds all that was ever acknowledged."""
        ...

    def deposed(self) -> None:
        """It does not lead any more."""
        ...

    def stopped(self, error: OmiumError) -> None:
        """It has stopped for good: it must not go on from this disk."""
        ...


class _Proposal(Generic[R]):
    __slots__ = ("data", "term", "then")

    def __init__(self, data: bytes, then: Callable[[R | OmiumError | None], None]) -> None:
        self.data = data
        self.term = 0
        self.then = then


Confirmed = Callable[[OmiumError | None], None]


class Member(Generic[R]):
    """See the module's docstring. ``config`` must speak of the storage and the applied index
    of ``log``; proposals are not forwarded whatever it says."""

    def __init__(self, config: Config, log: LogStore[R], host: Host) -> None:
        if config.storage is not log.storage or config.applied != log.applied:
            raise InvariantBroken("a member is to be started from the log that it writes")
        self.node = RawNode(config)
        self._log = log
        self._host = host
        # Two lives of one member never ask under the same name.
        self._reads_name = b"%d/%d/" % (config.id, config.draw(2**31))
        self._reads_asked = 0
        self._asked: deque[_Proposal[R]] = deque()
        self._proposed: dict[int, _Proposal[R]] = {}
        self._reads: list[Confirmed] = []
        self._confirming: tuple[bytes, list[Confirmed], int] | None = None
        self._confirmed: list[tuple[int, list[Confirmed]]] = []
        self._round: tuple[Ready, Batch] | None = None
        self._failed: OmiumError | None = None
        self._retry_in = 0
        self._suspicion = Suspicion(self.node)
        self._apply_due = True
        self._applied_term = log.storage.term(log.applied) or 0
        self._led_term = 0
        self._stopped: OmiumError | None = None
        self._working = False

    # ---- looking

    @property
    def leads(self) -> bool:
        """Whether it leads, as far as it knows, and has applied all that came before."""
        return self._led_term != 0

    @property
    def applied(self) -> int:
        """The last index that it has applied."""
        return self._log.applied

    @property
    def stopped(self) -> OmiumError | None:
        """Why it stopped for good, if it did."""
        return self._stopped

    @property
    def failed(self) -> OmiumError | None:
        """Why its last write failed; None once it was made up for."""
        return self._failed

    def status(self) -> Status:
        """A look at the node, for people and for metrics."""
        return self.node.status()

    # ---- what happens to it

    def tick(self) -> None:
        """One tick of time has passed."""
        if self._stopped is not None:
            return
        if self._failed is not None:
            self._retry_in -= 1
            if self._retry_in <= 0:
                self._retry()
            return
        self._guarded(self._tick)
        self._host.wake()

    def _tick(self) -> None:
        self._apply_due = True
        self._suspicion.tick()
        if self._confirming is not None:
            context, waiting, ticks = self._confirming
            self._confirming = (context, waiting, ticks - 1)
            if ticks <= 1:
                # The heartbeats or their answers were lost. Under another name, since a late
                # answer must not pass for one to the new question.
                self._confirming = None
                self._reads = waiting + self._reads
        self.node.tick()

    def step(self, message: Message) -> None:
        """Take in a message from another member. What does not fit is dropped.

        So is what is meant for another: for whoever was reached here before, its disk now lost.
        """
        if self._stopped is not None or self._failed is not None or message.to != self.node.id:
            return
        self._guarded(lambda: self._step(message))
        self._host.wake()

    def _step(self, message: Message) -> None:
        try:
            self.node.step(message)
        except (PeerUnknown, RequestDropped, ProtocolError):
            return

    def report_unreachable(self, node_id: int) -> None:
        """A message to ``node_id`` was lost on this side."""
        self.node.report_unreachable(node_id)

    def report_snapshot(self, node_id: int, *, delivered: bool) -> None:
        """What became of the snapshot message that was sent to ``node_id``."""
        self.node.report_snapshot(node_id, delivered=delivered)
        self._host.wake()

    def suspect(self, node_id: int) -> None:
        """``node_id`` is likely dead: its stream broke, and nobody listens where it did.

        To be told again for as long as that is so. Where it led, see ``Suspicion``.
        """
        if self._stopped is not None or self._failed is not None:
            return
        self._guarded(lambda: self._suspicion.told(node_id))
        self._host.wake()

    def halt(self, error: OmiumError) -> None:
        """Stop for good: the host has found that it must not go on from this disk."""
        self._stop(error)

    def campaign(self) -> None:
        """Start an election now."""
        self._guarded(self.node.campaign)
        self._host.wake()

    def transfer(self, to: int) -> None:
        """Hand leadership over to ``to``. ``Host.deposed`` tells when that has worked."""
        if self.node.role is Role.LEADER:
            self._guarded(lambda: self.node.transfer_leader(to))
            self._host.wake()

    # ---- what is asked of the group

    def propose(self, data: bytes, then: Callable[[R | OmiumError | None], None]) -> None:
        """Let the group carry out ``data``; what waits is proposed together in ``work``.

        ``then`` is told what the state machine said, once that is committed and applied here.
        Or it gets ``NotLeading``, also where a write failed here, or ``RequestDropped``. An error
        that says so leaves open whether the command is carried out. ``then`` must not raise.
        """
        error = self._refusal(len(self._asked))
        if error is not None:
            then(error)
            return
        self._asked.append(_Proposal(data, then))
        self._host.wake()

    def read(self, then: Confirmed) -> None:
        """Tell ``then`` when the applied state may be read: it is as new as this call.

        ``then`` gets None, or ``NotLeading`` and the like. Reads that wait together cost one
        round of heartbeats (thesis, section 6.4).
        """
        error = self._refusal(len(self._reads))
        if error is not None:
            then(error)
            return
        self._reads.append(then)
        self._host.wake()

    def change_members(self, change: ConfChange | ConfChangeV2) -> None:
        """Propose a change of members. Raises ``NotLeading`` and ``RequestDropped``.

        What became of it is seen in the membership of ``status``.
        """
        if self.node.role is not Role.LEADER:
            raise NotLeading(self.node.lead)
        self.node.propose_conf_change(change)
        self._host.wake()

    def _refusal(self, waiting: int) -> OmiumError | None:
        if self._stopped is not None:
            return self._stopped
        if self._failed is not None:
            return NotLeading(NONE)
        if self.node.role is not Role.LEADER:
            return NotLeading(self.node.lead)
        if waiting >= WAITING_MAX:
            return Unavailable(f"{WAITING_MAX} requests wait for the group")
        return None

    # ---- the loop

    def work(self) -> None:
        """Do one round of what there is to do. Called after ``Host.wake``, which is asked for
        again where more follows, so that what this round answered leaves before the next one."""
        if self._stopped is None:
            self._guarded(self._work)

    def _work(self) -> None:
        self._working = True
        try:
            self._ask()
            if self._is_due:
                self._begin()
        finally:
            self._working = False
        if self._stopped is None:
            self._look()
            if self._is_due:
                self._host.wake()

    @property
    def _is_due(self) -> bool:
        return self._idle and self.node.has_ready(apply=self._applies)

    @property
    def _applies(self) -> bool:
        """Whether to apply what is committed now.

        On the leader somebody waits for it. A follower does it once a tick, for many entries at
        once, so that what the leader waits for, the next write, does not stand behind it.
        """
        return (
            self.node.role is Role.LEADER or self._apply_due or self.node.behind >= APPLY_BEHIND_MAX
        )

    @property
    def _idle(self) -> bool:
        return self._round is None and self._stopped is None and self._failed is None

    def _ask(self) -> None:
        """Hand to the node what waits, in as few messages as can be."""
        if self.node.role is not Role.LEADER or not self._idle:
            return
        while self._asked:
            some = [self._asked[n] for n in range(min(len(self._asked), PROPOSED_AT_ONCE_MAX))]
            try:
                first = self.node.propose(*[one.data for one in some])
            except RequestDropped:
                # Too much waits to be committed, or leadership is being handed over.
                break
            if first is None:
                raise InvariantBroken("a leader forwarded a proposal")
            for index, one in enumerate(some, first):
                one.term = self.node.term
                self._proposed[index] = self._asked.popleft()
        if self._reads and self._confirming is None:
            self._reads_asked += 1
            context = b"%s%d" % (self._reads_name, self._reads_asked)
            waiting, self._reads = self._reads, []
            self._confirming = (context, waiting, READ_TICKS)
            try:
                self.node.read_index(context)
            except RequestDropped as error:
                self._confirming = None
                _tell(waiting, error)

    def _begin(self) -> None:
        applies = self._applies
        ready = self.node.ready(apply=applies)
        if applies:
            self._apply_due = False
        for message in ready.messages:
            self._host.send(message)
        batch = Batch(
            snapshot=ready.snapshot,
            hard_state=ready.hard_state,
            entries=ready.entries,
            committed=ready.committed_entries,
            conf_state=self._changed_members(ready.committed_entries),
            must_sync=ready.must_sync,
        )
        self._round = (ready, batch)
        if ready.hard_state or ready.snapshot or ready.entries or ready.committed_entries:
            self._log.write(batch, self._written)
        else:
            self._end(ready, ())

    def _changed_members(self, committed: Sequence[Entry]) -> ConfState | None:
        """Put committed changes of members into force. They are committed whatever becomes of
        the write here, and if this member crashes before it, it applies them once more."""
        members: ConfState | None = None
        for entry in committed:
            if entry.type is not EntryType.NORMAL:
                members = self.node.apply_conf_change(decode_conf_change(entry))
        return members

    def _written(self, result: Sequence[R | None] | OmiumError) -> None:
        if self._round is None or self._stopped is not None:
            return
        ready, _ = self._round
        if isinstance(result, OmiumError):
            if self._log.halted or isinstance(result, (InvariantBroken, CorruptRecord)):
                self._stop(result)
            else:
                self._fail(result)
            return
        self._failed = None
        self._guarded(lambda: self._end(ready, result))
        if not self._working:
            self._host.wake()

    def _end(self, ready: Ready, results: Sequence[R | None]) -> None:
        for message in ready.messages_after_write:
            self._host.send(message)
        self.node.advance()
        self._round = None
        if ready.snapshot is not None:
            self._applied_term = ready.snapshot.term
        told: list[tuple[_Proposal[R], R | OmiumError | None]] = []
        for entry, result in zip(ready.committed_entries, results, strict=True):
            self._applied_term = entry.term
            proposal = self._proposed.pop(entry.index, None)
            if proposal is not None:
                mine = proposal.term == entry.term
                told.append((proposal, result if mine else NotLeading(self.node.lead)))
        for proposal, outcome in told:
            proposal.then(outcome)
        for state in ready.read_states:
            if self._confirming is not None and self._confirming[0] == state.context:
                self._confirmed.append((state.index, self._confirming[1]))
                self._confirming = None
        applied = self._log.applied
        due = [waiting for index, waiting in self._confirmed if index <= applied]
        self._confirmed = [one for one in self._confirmed if one[0] > applied]
        for waiting in due:
            _tell(waiting, None)

    def _look(self) -> None:
        """Tell the host who leads, when that has changed."""
        node = self.node
        leads = (
            node.role is Role.LEADER and self._applied_term == node.term and self._failed is None
        )
        if self._led_term and (not leads or self._led_term != node.term):
            self._led_term = 0
            self._host.deposed()
        if node.role is not Role.LEADER:
            self._give_up(NotLeading(node.lead), NotLeading(node.lead, True))
        elif leads and not self._led_term:
            self._led_term = node.term
            self._host.led(node.term)

    def _give_up(self, refused: OmiumError, unknown: OmiumError) -> None:
        """Tell whoever waits that nothing comes of it here."""
        asked, self._asked = self._asked, deque()
        proposed, self._proposed = self._proposed, {}
        reads, self._reads = self._reads, []
        if self._confirming is not None:
            reads += self._confirming[1]
            self._confirming = None
        for _, waiting in self._confirmed:
            reads += waiting
        self._confirmed = []
        for one in asked:
            one.then(refused)
        for one in proposed.values():
            one.then(unknown)
        _tell(reads, refused)

    # ---- when the disk or a law fails

    def _fail(self, error: OmiumError) -> None:
        """Nothing was written. Nothing else can be before this is, so this member is deaf and
        dumb meanwhile; the others go on without it."""
        self._failed = error
        self._retry_in = RETRY_TICKS
        # Not the error: it is this disk's, and another may lead at once.
        self._give_up(NotLeading(NONE), NotLeading(NONE, True))
        self._look()

    def _retry(self) -> None:
        if self._round is not None:
            self._retry_in = RETRY_TICKS
            self._log.write(self._round[1], self._written)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OmiumError as error:
            self._stop(error)
        except Exception as error:
            self._stop(PlatformError(f"a member failed: {type(error).__name__}: {error}"))
            raise

    def _stop(self, error: OmiumError) -> None:
        if self._stopped is not None:
            return
        self._stopped = error
        self._give_up(error, error)
        if self._led_term:
            self._led_term = 0
            self._host.deposed()
        self._host.stopped(error)


def _tell(waiting: Sequence[Confirmed], error: OmiumError | None) -> None:
    for then in waiting:
        then(error)
