"""A disk that fills up under a running runtime, and has room again later."""

from __future__ import annotations

import asyncio
import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from omium.errors import StorageFull
from omium.testing.scripted import Answer, Rule
from omium.types import ExecutionId
from tests.actors.gates import gate
from tests.actors.stage import Stage, agent, stage, workflow

LONG = "x" * 20_000


class Disk:
    """A small disk of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Leave not a page of room."""
        with self._ballast.open("wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(b"\0" * 4096)
            except OSError as error:
                assert error.errno == errno.ENOSPC

    def free(self) -> None:
        self._ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "omium-test", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", str(path)], check=True)


async def test_a_full_disk_loses_nothing_and_work_goes_on_when_there_is_room(disk: Disk) -> None:
    async with stage(disk.path) as s:
        with gate() as held:
            execution_id = await s.do(
                {"ask": "before"}, {"checkpoint": ""}, {"hold": held.name}, {"ask": LONG}
            )
            await held.reached()
            before = (await s.client.view(execution_id)).row.last_index
            disk.fill()
            held.open()
            await s.idle()
            # Its failure was told, and is on no record: there is no room for that either.
            view = await s.client.view(execution_id)
            assert view.status == "running"
            assert view.row.last_index == before
            assert s.provider.received == 1
            # Who waits for it learns why nothing happens.
            with pytest.raises(StorageFull, match="no space left"):
                await s.result(execution_id)
            disk.free()
            await grown(s, execution_id, before)
            assert await s.result(execution_id) == {"heard": ["echo: before", f"echo: {LONG}"]}
    assert s.provider.received == 2


async def test_a_full_disk_is_told_to_who_asks_for_more(disk: Disk) -> None:
    flow = workflow(agent("doer"))
    async with stage(disk.path) as s:
        first = await s.do({"ask": "x"})
        await s.result(first)
        disk.fill()
        with pytest.raises(StorageFull, match="no space left"):
            await s.submit(flow, {"do": [{"ask": LONG}]})
        # What is there can still be read.
        assert await s.result(first) == {"heard": ["echo: x"]}
        disk.free()
        second = await s.submit(flow, {"do": [{"ask": LONG}]})
        assert await s.result(second) == {"heard": [f"echo: {LONG}"]}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_agent_does_not_go_on_from_an_answer_that_found_no_room(
    disk: Disk, stream: bool
) -> None:
    with gate() as upstream, gate() as till:
        till.open()

        def held_answer(_: dict[str, Any]) -> Answer:
            upstream.hold()
            return Answer(content=LONG)

        async with stage(disk.path, [Rule(answer=held_answer)]) as s:
            put = {"tool": "put", "with": {"till": till.name, "amount": 1}}
            execution_id = await s.do({"ask": "x", "stream": stream}, put)
            await upstream.reached()
            before = (await s.client.view(execution_id)).row.last_index
            disk.fill()
            upstream.open()
            await s.idle()
            assert (await s.client.view(execution_id)).row.last_index == before
            assert till.notes == []
            disk.free()
            await grown(s, execution_id, before)
            assert await s.result(execution_id) == {"heard": [LONG, 1]}
            # The answer that nobody could write down was lost, and is asked for again.
            assert s.provider.received == 2
            assert len(till.notes) == 1


async def grown(s: Stage, execution_id: ExecutionId, index: int) -> None:
    """Wait until the journal has got beyond ``index``."""
    async with asyncio.timeout(10):
        while (await s.client.view(execution_id)).row.last_index <= index:
            await s.ticked()
