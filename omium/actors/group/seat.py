"""A seat of a group: the process that holds one member, and is the coordinator while it leads.

Gives the member its clock, its streams and its disk, and carries out what follows from who
leads: the leader's process makes a coordinator, which listens for clients and workers; all
others listen to nobody but their peers. So whoever finds somebody at a coordinator's address has
found the leader, and one that is deposed closes every stream that it has.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from omium.actors.coordinator import Coordinator
from omium.actors.group.copies import Incoming, send_copy
from omium.actors.group.damage import condemn
from omium.actors.group.peers import Peers
from omium.actors.group.renewal import RENEWAL_TICKS, is_outside, seated, taken_in
from omium.actors.group.talk import Part, SeatRole, SeatView, seat_of
from omium.actors.link import Address
from omium.actors.ordering import InGroup, Order
from omium.consensus import ConfChangeV2, Config, Member, Message, MessageType, Role
from omium.errors import CorruptRecord, NotLeading, OmiumError, RequestDropped
from omium.storage.group_store import GroupStore
from omium.storage.replica import Outcome, Replica

log = logging.getLogger(__name__)

LISTEN_AGAIN_S = 0.2

_ROLES: Mapping[Role, SeatRole] = {
    Role.LEADER: "leader",
    Role.FOLLOWER: "follower",
    Role.PRE_CANDIDATE: "candidate",
    Role.CANDIDATE: "candidate",
}

MakeCoordinator = Callable[[Replica, Order], Coordinator]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """A tick in seconds, and how many of them make a heartbeat and an election time-out.

    The time-out is for leaders that fall silent. One whose process dies is found by its streams.
    """

    tick_s: float = 0.1
    heartbeat_ticks: int = 1
    election_ticks: int = 10


@dataclass(frozen=True, kw_only=True)
class GroupSettings:
    """One seat, and where all of them are: for peers, and for clients while they lead."""

    seat: int
    peers: Mapping[int, Address]
    coordinators: Mapping[int, Address]
    secret: bytes = field(repr=False)
    timing: Timing = field(default_factory=Timing)


class Seat:
    """See the module's docstring. ``start`` it; it goes on until ``stop``."""

    def __init__(
        self,
        settings: GroupSettings,
        store: GroupStore,
        make_coordinator: MakeCoordinator,
        *,
        on_damaged: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_damaged`` is called once the disk was found damaged and condemned: whoever opens
        it next begins anew."""
        self._on_damaged = on_damaged
        self.settings = settings
        self.store = store
        self._make_coordinator = make_coordinator
        timing = settings.timing
        self.member: Member[Outcome] = Member(
            Config(
                id=store.id,
                storage=store.storage,
                draw=random.SystemRandom().randrange,
                applied=store.applied,
                heartbeat_ticks=timing.heartbeat_ticks,
                election_ticks=timing.election_ticks,
            ),
            store,
            self,
        )
        folder = store.replica.path.parent
        self._outgoing = folder / "outgoing"
        self._incoming = Incoming(folder / "incoming")
        self._peers = Peers(
            settings.seat,
            settings.peers,
            settings.secret,
            on_message=self.member.step,
            on_join=self._join,
            on_part=self._part,
            on_look=self.look,
            on_refused=self._refused,
        )
        self._work_due = False
        self._condemned = False
        self._ticks = 0
        self._term = 0
        self._changed = asyncio.Event()
        self._coordinator: Coordinator | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._lasting: list[asyncio.Task[None]] = []
        self.stopped_for: OmiumError | None = None
        """Why the member stopped for good, if it did: it must not go on from its disk."""

    @property
    def coordinator(self) -> Coordinator | None:
        """The coordinator, while this seat leads."""
        return self._coordinator

    def look(self) -> SeatView:
        """What this seat is now, for people."""
        status = self.member.status()
        has_vote = status.id in status.membership.voters
        role = status.soft_state.role
        return SeatView(
            seat=self.settings.seat,
            role=_ROLES[role] if has_vote else "joining",
            term=status.hard_state.term,
            leads=seat_of(status.soft_state.lead),
            applied=status.applied,
            last=status.last_index,
            pid=os.getpid(),
            trouble=str(self.stopped_for or ""),
        )

    async def seated(self) -> None:
        """Wait until this seat has a vote. Raises what stopped its member."""
        while self.store.id not in self.member.status().membership.voters:
            if self.stopped_for is not None:
                raise self.stopped_for
            await asyncio.sleep(self.settings.timing.tick_s)

    async def start(self) -> None:
        """Take part in the group. Raises ``OSError`` where it cannot listen."""
        await self._peers.start()
        self._lasting = [
            asyncio.create_task(self._keep_ticking(), name="omium-group-tick"),
            asyncio.create_task(self._keep_leading(), name="omium-group-lead"),
        ]

    async def stop(self) -> None:
        """Leave as a crash would: the others find out. What was acknowledged is on disk."""
        for task in [*self._lasting, *self._tasks]:
            task.cancel()
        await asyncio.gather(*self._lasting, *self._tasks, return_exceptions=True)
        await self._end_coordinator()
        await self._peers.stop()
        self.store.close()

    # ------------------------------------------------------------------ Host of the member

    def send(self, message: Message) -> None:
        if message.type is MessageType.SNAPSHOT:
            self._spawn(self._send_copy(message))
        elif not self._peers.send(message):
            asyncio.get_running_loop().call_soon(self.member.report_unreachable, message.to)

    def wake(self) -> None:
        if not self._work_due:
            self._work_due = True
            asyncio.get_running_loop().call_soon(self._work)

    def led(self, term: int) -> None:
        log.info("seat %d leads in term %d", self.settings.seat, term)
        self._term = term
        self._changed.set()

    def deposed(self) -> None:
        log.info("seat %d leads no more", self.settings.seat)
        self._term = 0
        self._changed.set()

    def stopped(self, error: OmiumError) -> None:
        log.error("seat %d stopped: %s", self.settings.seat, error)
        self.stopped_for = error
        if isinstance(error, CorruptRecord) and not self._condemned:
            self._spawn(self._examine(error))

    def _work(self) -> None:
        self._work_due = False
        self.member.work()

    # ------------------------------------------------------------------ damage

    def _distrust(self, error: CorruptRecord, otherwise: Callable[[], None]) -> None:
        """What was read here is damaged: another member has it whole. ``otherwise`` is called
        where it is not this disk's damage."""
        self._spawn(self._examine(error, otherwise))

    async def _examine(
        self, error: CorruptRecord, otherwise: Callable[[], None] = lambda: None
    ) -> None:
        try:
            damaged = await asyncio.to_thread(condemn, self.store.replica.path.parent, error)
        except OmiumError as failure:
            # Nothing can be noted on this disk, so nothing is done about it but to tell.
            log.error("seat %d cannot be examined: %s", self.settings.seat, failure)
            damaged = False
        if not damaged:
            otherwise()
        elif not self._condemned:
            self._condemned = True
            self.member.halt(error)
            self._on_damaged()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ------------------------------------------------------------------ time

    async def _keep_ticking(self) -> None:
        while self.stopped_for is None:
            await asyncio.sleep(self.settings.timing.tick_s)
            self.member.tick()
            self._ticks += 1
            if self._ticks % RENEWAL_TICKS == 0:
                self._renew()

    # ------------------------------------------------------------------ leading

    async def _keep_leading(self) -> None:
        """Have a coordinator for as long as the member leads, and a new one for each term."""
        term = 0
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._coordinator is not None and self._term != term:
                await self._end_coordinator()
            if self._term and self._coordinator is None:
                term = self._term
                await self._begin_coordinator()

    async def _begin_coordinator(self) -> None:
        coordinator = self._make_coordinator(
            self.store.replica, InGroup(self.member, self._distrust)
        )
        try:
            await coordinator.start(*self.settings.coordinators[self.settings.seat])
        except OSError as error:
            # Whoever has the port may go; until then another seat had better lead.
            log.error("seat %d cannot listen for clients: %s", self.settings.seat, error)
            await coordinator.stop(end_workers=False)
            self._hand_over()
            await asyncio.sleep(LISTEN_AGAIN_S)
            self._changed.set()
            return
        self._coordinator = coordinator

    async def _end_coordinator(self) -> None:
        if self._coordinator is not None:
            # Not forgotten before: whoever is interrupted here is followed by `stop`.
            await self._coordinator.stop(end_workers=False)
            self._coordinator = None

    def _hand_over(self) -> None:
        status = self.member.status()
        others = [
            (progress.match, node_id)
            for node_id, progress in status.progress.items()
            if node_id != status.id and progress.recent_active and not progress.is_learner
        ]
        if others:
            self.member.transfer(max(others)[1])

    # ------------------------------------------------------------------ peers

    def _refused(self, seat: int) -> None:
        status = self.member.status()
        # A leader that came in a moment ago may be no voter yet as far as this member knows.
        for node_id in {status.soft_state.lead, *status.membership.voters}:
            if seat_of(node_id) == seat:
                self.member.suspect(node_id)

    async def _send_copy(self, message: Message) -> None:
        delivered = False
        try:
            await send_copy(
                self.store.replica.path,
                self._outgoing,
                message,
                lambda part: self._peers.give(message.to, part),
            )
            delivered = True
        except OmiumError as error:
            log.warning("no copy of the state for member %d: %s", message.to, error)
        finally:
            self.member.report_snapshot(message.to, delivered=delivered)

    def _part(self, part: Part) -> None:
        message = self._incoming.take(part)
        if message is not None:
            self.member.step(message)
            # Installed before the answer, or not at all.
            self.member.work()
            self._incoming.tidy()

    # ------------------------------------------------------------------ who belongs to it

    def _renew(self) -> None:
        status = self.member.status()
        if is_outside(status):
            self._peers.join(status.id)
        elif self.member.leads:
            self._propose_members(seated(status))

    def _join(self, node_id: int) -> None:
        if self.member.leads and seat_of(node_id) in self.settings.peers:
            self._propose_members(taken_in(self.member.status(), node_id))

    def _propose_members(self, change: ConfChangeV2 | None) -> None:
        if change is None:
            return
        try:
            self.member.change_members(change)
        except (NotLeading, RequestDropped) as error:
            log.info("no change of members now: %s", error)
