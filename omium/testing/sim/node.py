"""One member of a simulated group in its process: the driver of the runtime, hosted here.

Owns its life: it comes up from its disk, ticks, serves clients, and goes down with its process.
What it does about messages and Ready is ``omium.consensus.Member``, and who is to belong to the
group is decided by ``omium.actors.group.renewal``: the code that the runtime drives, not repeated
here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import msgspec

from omium.actors.group.renewal import RENEWAL_TICKS, is_outside, seated, taken_in
from omium.consensus import ConfChangeV2, Config, Member, Message, MessageType, Snapshot
from omium.consensus.state import Raft
from omium.errors import (
    ConsensusError,
    CorruptRecord,
    NotLeading,
    OmiumError,
)
from omium.testing.sim.disk import Disk
from omium.testing.sim.laws import Laws
from omium.testing.sim.log_store import DiskLog
from omium.testing.sim.network import Network
from omium.testing.sim.service import Applied, Request, Response, Service
from omium.testing.sim.world import Timer, World

TICK_US = 20_000
SNAPSHOT_TIMEOUT_US = 100_000
BOOT_AGAIN_US = 200_000

_MESSAGE, _GOT_SNAPSHOT, _JOIN, _REQUEST, RESPONSE = b"m", b"s", b"j", b"q", b"a"

_encode = msgspec.msgpack.Encoder().encode
_decode_message = msgspec.msgpack.Decoder(Message).decode
_decode_request = msgspec.msgpack.Decoder(Request).decode

Options: TypeAlias = dict[str, Any]


def name_of(member_id: int) -> str:
    """The process of a member."""
    return f"n{member_id}"


def request_frame(request: Request) -> bytes:
    """What a client sends to a member."""
    return _REQUEST + _encode(request)


class Node:
    """See the module's docstring. ``start`` is None for a newcomer; ``options`` are of ``Config``.

    ``peers`` are those whom it asks to be taken in, and ``lag_max`` is by how many entries others
    may be behind to be given a vote.
    ``rotten`` is the file of its disk in which a bit was flipped, and ``found`` says that this
    was noticed when it came up: it must never take part again.
    """

    def __init__(
        self,
        world: World,
        network: Network,
        laws: Laws,
        member_id: int,
        *,
        start: Snapshot | None,
        service: Callable[[], Service],
        options: Options,
        kept: int,
        lag_max: int,
        peers: Callable[[], Iterable[int]],
    ) -> None:
        self.id = member_id
        self.process = world.process(name_of(member_id))
        self.disk = Disk(self.process)
        self.rotten = ""
        self.found = False
        self.store: DiskLog[Applied] | None = None
        self.member: Member[Applied] | None = None
        self.service: Service | None = None
        self._network = network
        self._laws = laws
        self._start = start
        self._new_service = service
        self._options = options
        self._kept = kept
        self._lag_max = lag_max
        self._peers = peers
        self._ticks = 0
        self._random = world.random(f"node/{member_id}")
        self._awake = self._acting = False
        self._snapshots: dict[int, Timer] = {}
        network.attach(self.process, self._arrived)

    # ---- what the laws see

    @property
    def raft(self) -> Raft:
        assert self.member is not None
        return self.member.node.raft

    @property
    def applied(self) -> int:
        return self.store.applied if self.store is not None else 0

    @property
    def digest(self) -> int:
        return self.service.digest if self.service is not None else 0

    @property
    def up(self) -> bool:
        """Whether it takes part."""
        return self.process.running and self.member is not None and self.member.stopped is None

    # ---- its life

    def boot(self) -> None:
        """Come up from the disk. Where that is full, try again later."""
        self.member = None
        self._awake = self._acting = False
        self._snapshots.clear()
        self._laws.forget(self.id)
        self.service = self._new_service()
        self.service.load(b"")
        try:
            store = DiskLog(self.disk, self.service, self._start, kept=self._kept)
        except CorruptRecord:
            assert self.rotten, f"member {self.id} takes its disk for rotten, and it is not"
            self.found = True
            self.process.crash()
            return
        assert store.name != self.rotten, f"member {self.id} does not see that its disk is rotten"
        # A whole newer file had survived the power cut.
        self.rotten = ""
        self.store = store

        def begun(error: OmiumError | None) -> None:
            if error is None:
                self._join(store)
            elif store.halted:
                self.process.crash()
            else:
                self.process.after(BOOT_AGAIN_US, "boot again", self.boot)

        store.begin(begun)

    def _join(self, store: DiskLog[Applied]) -> None:
        config = Config(
            id=self.id,
            storage=store.storage,
            draw=self._random.randrange,
            applied=store.applied,
            **self._options,
        )
        self.member = Member(config, store, self)
        self.process.after(self._random.randrange(TICK_US), "tick", self._tick)
        self._laws.check(self)

    def _tick(self) -> None:
        if self.member is None:
            return
        self.process.after(TICK_US, "tick", self._tick)
        self._do(self.member, self.member.tick)
        self._ticks += 1
        if self._ticks % RENEWAL_TICKS == 0:
            self._renew(self.member)

    def _renew(self, member: Member[Applied]) -> None:
        status = member.status()
        if is_outside(status):
            for other in self._peers():
                self._network.send(self.process.name, name_of(other), _JOIN)
        elif member.leads:
            self._propose(member, seated(status, lag_max=self._lag_max))

    def _joins(self, member: Member[Applied], newcomer: int) -> None:
        if member.leads:
            self._propose(member, taken_in(member.status(), newcomer))

    def _propose(self, member: Member[Applied], change: ConfChangeV2 | None) -> None:
        if change is None:
            return
        try:
            member.change_members(change)
        except ConsensusError:
            return

    def _work(self) -> None:
        self._awake = False
        if self.member is not None:
            self._do(self.member, self.member.work)

    def _do(self, member: Member[Applied], what: Callable[[], None]) -> None:
        """Let something happen to the member, all that it wants done then, and the laws look."""
        self._acting = True
        what()
        while self._awake:
            self._awake = False
            member.work()
        self._acting = False
        if member.stopped is None:
            self._laws.check(self)

    # ---- Host

    def send(self, message: Message) -> None:
        self._laws.sent(message)
        if message.type is MessageType.SNAPSHOT:
            self._await_snapshot(message.to)
        self._network.send(self.process.name, name_of(message.to), _MESSAGE + _encode(message))

    def wake(self) -> None:
        if self._acting:
            self._awake = True
        elif not self._awake:
            self._awake = True
            self.process.after(0, "work", self._work)

    def led(self, term: int) -> None:
        # One that was elected and then stood still may learn of it when others lead already.
        newest = term == max(self._laws.leaders)
        assert not newest or self.applied >= self._laws.acknowledged, (
            f"member {self.id} leads term {term} and applied {self.applied}, "
            f"clients were told of {self._laws.acknowledged}"
        )

    def deposed(self) -> None:
        return

    def stopped(self, error: OmiumError) -> None:
        assert self.store is not None and self.store.halted, f"member {self.id} stops: {error}"
        # As the runtime does: what the disk holds is not known, so the process ends.
        self.process.after(0, "stopped", self.process.kill)

    def _await_snapshot(self, to: int) -> None:
        timer = self._snapshots.pop(to, None)
        if timer is not None:
            timer.cancel()
        self._snapshots[to] = self.process.after(
            SNAPSHOT_TIMEOUT_US, "snapshot lost", lambda: self._report(to, delivered=False)
        )

    def _report(self, to: int, *, delivered: bool) -> None:
        timer = self._snapshots.pop(to, None)
        if timer is not None and self.member is not None:
            timer.cancel()
            self.member.report_snapshot(to, delivered=delivered)

    # ---- what arrives

    def _arrived(self, source: str, frame: bytes) -> None:
        member = self.member
        if member is None:
            return
        kind, body = frame[:1], frame[1:]
        if kind == _MESSAGE:
            message = _decode_message(body)
            self._do(member, lambda: member.step(message))
            if message.type is MessageType.SNAPSHOT:
                self._network.send(self.process.name, source, _GOT_SNAPSHOT)
        elif kind == _JOIN:
            self._do(member, lambda: self._joins(member, int(source[1:])))
        elif kind == _REQUEST:
            self._do(member, lambda: self._serve(member, source, _decode_request(body)))
        elif kind == _GOT_SNAPSHOT:
            self._do(member, lambda: self._report(int(source[1:]), delivered=True))

    def _serve(self, member: Member[Applied], client: str, request: Request) -> None:
        if request.read:
            self._read(member, client, request)
            return

        def told(result: Applied | OmiumError | None) -> None:
            if isinstance(result, Applied):
                self._laws.answered(result.index)
                self._answer(client, Response(number=request.number, body=result.answer))
            else:
                self._refuse(client, request, result)

        member.propose(request.body, told)

    def _read(self, member: Member[Applied], client: str, request: Request) -> None:
        newest = self._laws.acknowledged

        def told(error: OmiumError | None) -> None:
            if error is not None or self.service is None:
                self._refuse(client, request, error)
                return
            assert self.applied >= newest, (
                f"member {self.id} serves a read from {self.applied}, and {newest} was "
                "acknowledged before it was asked for"
            )
            answer = self.service.query(request.body)
            self._answer(client, Response(number=request.number, body=answer))

        member.read(told)

    def _refuse(self, client: str, request: Request, error: object) -> None:
        lead = error.lead if isinstance(error, NotLeading) else 0
        self._answer(client, Response(number=request.number, lead=lead))

    def _answer(self, client: str, response: Response) -> None:
        self._network.send(self.process.name, client, RESPONSE + _encode(response))
