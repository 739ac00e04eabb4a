"""The parts of a group by themselves: who is taken in, how a group is formed, copies, and links."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from omium.actors.group.copies import Incoming, send_copy
from omium.actors.group.opening import (
    RECORD_NAME,
    claim_group,
    open_store,
    record_formed,
    seat_folder,
)
from omium.actors.group.renewal import LAG_MAX, seated, taken_in
from omium.actors.group.talk import Part, seat_of
from omium.actors.link import Link
from omium.actors.transport import Codec, Connection, error_reply, serve, stop_listening
from omium.clock import ManualClock, SystemClock
from omium.config import load_settings
from omium.consensus import (
    ConfChangeV2,
    HardState,
    Membership,
    Message,
    MessageType,
    ProgressState,
    ProgressStatus,
    Role,
    SoftState,
    Status,
)
from omium.errors import ConfigError, CorruptRecord, NotLeading, ProtocolError
from omium.execution.commands import WriteRecord
from omium.ports import free_ports
from omium.storage.group_store import decode_copied
from omium.storage.replica import FILE_NAME, Replica
from omium.types import DEFAULT_TENANT

# ---------------------------------------------------------------------- who is taken in


def status(
    voters: set[int], learners: set[int] | None = None, *, match: int = 0, **fields: Any
) -> Status:
    progress = {
        node_id: ProgressStatus(
            match=match,
            next=match + 1,
            state=fields.get("state", ProgressState.REPLICATE),
            paused=False,
            pending_snapshot=0,
            recent_active=True,
            inflight=0,
            inflight_full=False,
            is_learner=node_id in (learners or set()),
        )
        for node_id in voters | (learners or set())
    }
    return Status(
        id=1,
        soft_state=SoftState(lead=1, role=Role.LEADER),
        hard_state=HardState(),
        first_index=1,
        last_index=1_000,
        applied=1_000,
        transferee=0,
        membership=Membership(
            voters=frozenset(voters),
            learners=frozenset(learners or ()),
            outgoing=frozenset(fields.get("outgoing", ())),
        ),
        progress=progress,
    )


def changes(change: ConfChangeV2 | None) -> list[tuple[str, int]]:
    return [(one.type.name, one.node_id) for one in change.changes] if change else []


def test_a_newcomer_is_a_learner_first() -> None:
    assert seat_of(19) == 3
    assert changes(taken_in(status({1, 2, 3}), 19)) == [("ADD_LEARNER_NODE", 19)]


def test_nobody_is_taken_in_twice_and_an_older_life_never() -> None:
    assert taken_in(status({1, 2, 3}, {19}), 19) is None
    assert taken_in(status({1, 2, 19}), 19) is None
    assert taken_in(status({1, 2, 19}), 3) is None
    assert taken_in(status({1, 2, 3}, {35}), 19) is None


def test_a_later_life_takes_the_place_of_an_earlier_newcomer() -> None:
    found = taken_in(status({1, 2, 3}, {19}), 35)
    assert changes(found) == [("REMOVE_NODE", 19), ("ADD_LEARNER_NODE", 35)]


def test_who_has_caught_up_gets_the_seat() -> None:
    near = status({1, 2, 3}, {19}, match=1_000 - LAG_MAX)
    assert changes(seated(near)) == [("REMOVE_NODE", 3), ("ADD_NODE", 19)]
    assert changes(seated(status({1}, {18}, match=1_000))) == [("ADD_NODE", 18)]


@pytest.mark.parametrize(
    "fields",
    [
        {"match": 1_000 - LAG_MAX - 1},
        {"match": 1_000, "state": ProgressState.SNAPSHOT},
        {"match": 1_000, "outgoing": {1, 2, 3}},
    ],
)
def test_who_has_not_waits(fields: dict[str, Any]) -> None:
    assert seated(status({1, 2, 3}, {19}, **fields)) is None


# ---------------------------------------------------------------------- forming


def test_a_group_is_claimed_once_and_keeps_its_size(tmp_path: Path) -> None:
    assert claim_group(tmp_path, 1, "a") is None
    first = claim_group(tmp_path, 3, "a")
    assert first is not None
    assert (first.group, first.formed) == ("a", False)
    assert claim_group(tmp_path, 3, "b") == first
    record_formed(tmp_path)
    again = claim_group(tmp_path, 3, "b")
    assert again is not None
    assert (again.group, again.formed) == ("a", True)
    for other in (1, 5):
        with pytest.raises(ConfigError, match="group of 3 coordinators"):
            claim_group(tmp_path, other, "b")
    (tmp_path / RECORD_NAME).write_text("{}")
    with pytest.raises(CorruptRecord, match=RECORD_NAME):
        claim_group(tmp_path, 3, "b")


def test_the_disk_of_a_seat_without_the_record_forms_no_new_group(tmp_path: Path) -> None:
    seat_folder(tmp_path, 2).mkdir(parents=True)
    (seat_folder(tmp_path, 2) / FILE_NAME).touch()
    with pytest.raises(ConfigError, match="tells of the group, is not here"):
        claim_group(tmp_path, 3, "a")
    assert not (tmp_path / RECORD_NAME).exists()


def test_an_empty_folder_for_the_disk_of_a_seat_forbids_nothing(tmp_path: Path) -> None:
    seat_folder(tmp_path, 2).mkdir(parents=True)
    assert nodes_of(tmp_path, "n1", "n2", "n3") == ("n1", "n2", "n3")


def nodes_of(folder: Path, *now: str) -> tuple[str, ...]:
    record = claim_group(folder, 3, "a", now)
    assert record is not None
    return record.nodes


def test_seats_stay_where_their_disks_are(tmp_path: Path) -> None:
    assert nodes_of(tmp_path, "n1", "n2", "n3") == ("n1", "n2", "n3")
    # One is away, and another one is new.
    assert nodes_of(tmp_path, "n1", "n0", "n1") == ("n1", "n2", "n3")
    # This one has another address than it had.
    assert nodes_of(tmp_path, "n9", "n2", "n3") == ("n9", "n2", "n3")
    assert nodes_of(tmp_path) == ("n9", "n2", "n3")


def test_seats_that_were_with_the_first_one_stay_with_it(tmp_path: Path) -> None:
    assert nodes_of(tmp_path, "n1", "n1", "n1") == ("n1", "n1", "n1")
    assert nodes_of(tmp_path, "n2", "n5", "n6") == ("n2", "n2", "n2")


def test_a_group_of_one_machine_stays_there_when_it_joins_a_cluster(tmp_path: Path) -> None:
    assert nodes_of(tmp_path) == ()
    for seat in (1, 2):
        seat_folder(tmp_path, seat).mkdir(parents=True, exist_ok=True)
        (seat_folder(tmp_path, seat) / FILE_NAME).touch()
    assert nodes_of(tmp_path, "n1", "n2", "n3") == ("n1", "n1", "n3")


def voters(folder: Path, seat: int, *, forming: bool, clock: Any = None) -> tuple[int, list[int]]:
    """The id and the voters that a seat finds on its disk."""
    store = open_store(
        folder, seat, group="g", forming=forming, owner="test", clock=clock or SystemClock()
    )
    found = store.id, sorted(store.storage.initial_state()[1].voters)
    store.close()
    return found


def test_only_the_first_seat_forms_a_group_and_only_once(tmp_path: Path) -> None:
    assert voters(tmp_path / "one", 1, forming=True) == (1, [1])
    assert voters(tmp_path / "one", 1, forming=False) == (1, [1])
    newcomer, members = voters(tmp_path / "one", 2, forming=True)
    assert (seat_of(newcomer), members) == (2, [])
    assert newcomer > 16
    lost, members = voters(tmp_path / "lost", 1, forming=False)
    assert (seat_of(lost), members) == (1, [])
    # It never joined: where the group is not formed yet it may still begin it.
    assert voters(tmp_path / "lost", 1, forming=True) == (1, [1])


def test_later_lives_have_higher_ids(tmp_path: Path) -> None:
    clock = ManualClock()
    first, _ = voters(tmp_path / "one", 2, forming=False, clock=clock)
    clock.advance(0.001)
    second, _ = voters(tmp_path / "two", 2, forming=False, clock=clock)
    assert second > first


def test_a_coordinators_disk_that_was_alone_is_no_newcomers(tmp_path: Path) -> None:
    replica = Replica.open(seat_folder(tmp_path, 1), owner="test")
    replica.commit([WriteRecord(tenant=DEFAULT_TENANT, kind="n", key="k", body=1)])
    replica.close()
    with pytest.raises(ConfigError, match="alone"):
        voters(tmp_path, 1, forming=False)
    assert voters(tmp_path, 1, forming=True) == (1, [1])


@pytest.mark.parametrize("count", ["2", "0", "7", "x"])
def test_the_number_of_coordinators_is_odd(monkeypatch: pytest.MonkeyPatch, count: str) -> None:
    monkeypatch.setenv("OMIUM_COORDINATORS", count)
    with pytest.raises(ConfigError, match="coordinators"):
        load_settings()
    monkeypatch.setenv("OMIUM_COORDINATORS", "3")
    assert load_settings().coordinators == 3


# ---------------------------------------------------------------------- copies


@pytest.fixture
def source(tmp_path: Path) -> Path:
    store = open_store(
        tmp_path / "source", 1, group="g", forming=True, owner="test", clock=SystemClock()
    )
    store.close()
    return tmp_path / "source" / FILE_NAME


MESSAGE = Message(type=MessageType.SNAPSHOT, to=2, sender=1, term=1)


def files_in(folder: Path) -> list[Path]:
    return [*folder.iterdir()]


async def parts_of(source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Part]:
    monkeypatch.setattr("omium.actors.group.copies.PART_BYTES", 16 * 1024)
    parts: list[Part] = []

    async def keep(part: Part) -> None:
        parts.append(part)

    await send_copy(source, folder, MESSAGE, keep)
    assert len(parts) > 3
    assert files_in(folder) == []
    return parts


async def test_a_copy_comes_in_parts(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = await parts_of(source, tmp_path / "outgoing", monkeypatch)
    incoming = Incoming(tmp_path / "incoming")
    told = [incoming.take(part) for part in parts]
    assert told[:-1] == [None] * (len(parts) - 1)
    message = told[-1]
    assert message is not None and message.snapshot is not None
    assert (message.snapshot.index, message.snapshot.conf_state.voters) == (1, (1,))
    copied = decode_copied(message.snapshot)
    path = tmp_path / "incoming" / copied.name
    assert path.stat().st_size == copied.size == sum(len(part.data) for part in parts)
    incoming.tidy()
    assert not path.exists()


Spoil = Callable[[list[Part]], list[Part]]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda parts: parts[1:],
        lambda parts: [parts[0], *parts[2:]],
        lambda parts: [*parts[:-1], msgspec.structs.replace(parts[-1], digest=b"other")],
        lambda parts: [msgspec.structs.replace(parts[0], data=b"x" * 16_384), *parts[1:]],
        lambda parts: [parts[0], msgspec.structs.replace(parts[1], copy="other"), *parts[2:]],
    ],
)
async def test_a_copy_that_is_not_what_was_sent_is_refused(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, spoil: Spoil
) -> None:
    parts = await parts_of(source, tmp_path / "outgoing", monkeypatch)
    incoming = Incoming(tmp_path / "incoming")
    with pytest.raises(ProtocolError):
        for part in spoil(parts):
            incoming.take(part)
    # The sender begins anew.
    assert [incoming.take(part) for part in parts][-1] is not None


# ---------------------------------------------------------------------- links


class Ping(msgspec.Struct, frozen=True, tag_field="m", tag="ping"):
    """Asks who is there."""

    answer: str = ""


async def listening(port: int, name: str, error: Exception | None = None) -> asyncio.Server:
    def handle(_c: Connection, _: Any, answer: Callable[[Any], None]) -> None:
        answer(error_reply(error) if isinstance(error, NotLeading) else Ping(name))

    open_ones: set[Connection] = set()
    return await serve(
        "127.0.0.1",
        port,
        Codec(Ping),
        b"secret",
        handler=handle,
        on_made=open_ones.add,
        on_closed=lambda connection, _: open_ones.discard(connection),
    )


async def test_a_link_finds_whoever_listens() -> None:
    ports = free_ports(3)
    refused: list[int] = []
    link = Link(
        [("127.0.0.1", port) for port in ports],
        Codec(Ping),
        b"secret",
        handler=lambda *_: None,
        retry_s=0.01,
        on_refused=lambda: refused.append(1),
    )
    server = await listening(ports[2], "third")
    link.open()
    try:
        assert (await link.call(Ping(), deadline_s=5)).answer == "third"
        assert len(refused) == 2
    finally:
        await link.close()
        await stop_listening(server)


async def test_a_link_goes_on_from_who_leads_no_more() -> None:
    ports = free_ports(2)
    link = Link(
        [("127.0.0.1", port) for port in ports],
        Codec(Ping),
        b"secret",
        handler=lambda *_: None,
        retry_s=0.01,
    )
    old = await listening(ports[0], "old", NotLeading(2, True))
    new = await listening(ports[1], "new")
    link.open()
    try:
        assert (await link.call(Ping(), deadline_s=5)).answer == "new"
    finally:
        await link.close()
        for server in (old, new):
            await stop_listening(server)
