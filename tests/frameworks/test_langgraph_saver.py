"""``OmiumSaver`` in graphs of anybody's: what is kept, in which order, and what may go."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import string
import sys
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from omium.errors import ConfigError, Conflict, CorruptBlob, InputError
from omium.storage.sqlite_objects import FILE_NAME
from omium.storage.threads import CheckpointRecord, MemoryThreads, WritesRecord

pytestmark = [pytest.mark.langgraph, pytest.mark.xdist_group("langgraph")]


@pytest.fixture
def g() -> Any:
    """The graphs. Imported when first used: LangGraph takes a while."""
    return import_module("tests.frameworks.saver_graphs")


@pytest.fixture(params=["memory", "directory"])
def saver(request: pytest.FixtureRequest, g: Any, tmp_path: Path) -> Any:
    return g.OmiumSaver("memory://" if request.param == "memory" else str(tmp_path / "store"))


def database(directory: Path) -> Path:
    """The file in which a directory's checkpoints are, all that was committed written into it."""
    path = directory / FILE_NAME
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def files_in(directory: Path) -> set[str]:
    """Those that SQLite keeps beside the database have its name and a suffix."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)).partition("-")[0] for path in files}


# ---------------------------------------------------------------------- usage


async def test_a_thread_goes_on_in_another_process(g: Any, tmp_path: Path) -> None:
    graph = g.counting(g.OmiumSaver(str(tmp_path)))
    await graph.ainvoke({"n": 0, "log": []}, g.thread(), durability="sync")
    # Another saver knows what is on disk and nothing else.
    again = g.counting(g.OmiumSaver(f"file://{tmp_path}"))
    state = await again.aget_state(g.thread())
    assert state.values == {"n": 3, "log": ["add 1", "add 2", "add 3"]}
    assert [s.values.get("n") for s in again.get_state_history(g.thread())] == [3, 2, 1, 0, None]


def test_blocking_graphs(g: Any, saver: Any) -> None:
    graph = g.counting(saver)
    modes = ["values", "updates", "debug", "checkpoints", "tasks"]
    chunks = list(graph.stream({"n": 0, "log": []}, g.thread(), stream_mode=modes))
    assert {mode for mode, _ in chunks} == set(modes)
    assert [v["n"] for mode, v in chunks if mode == "values"] == [0, 1, 2, 3]
    assert graph.get_state(g.thread()).values["n"] == 3


async def test_blocking_methods_are_for_threads_with_a_loop_too(g: Any, saver: Any) -> None:
    graph = g.counting(saver)
    assert graph.invoke({"n": 0, "log": []}, g.thread())["n"] == 3
    assert len(list(saver.list(g.thread(), limit=2))) == 2


async def test_interrupts_and_resumes(g: Any, saver: Any) -> None:
    graph, ran = g.asking(saver)
    asked = await graph.ainvoke({"log": []}, g.thread(), durability="sync")
    assert asked["__interrupt__"][0].value == "first?"
    again = await graph.ainvoke(g.Command(resume="one"), g.thread(), durability="sync")
    assert again["__interrupt__"][0].value == "second?"
    done = await graph.ainvoke(g.Command(resume="two"), g.thread(), durability="sync")
    assert sorted(done["log"]) == ["one two", "quick"]
    # The branch that had finished was not run again by either answer.
    assert ran.count("quick") == 1 and ran.count("ask") == 3


async def test_time_travel_and_updates_of_the_state(g: Any, saver: Any) -> None:
    graph = g.counting(saver)
    await graph.ainvoke({"n": 0, "log": []}, g.thread(), durability="sync")
    history = [s async for s in graph.aget_state_history(g.thread())]
    at_one = next(s for s in history if s.values.get("n") == 1)
    changed = await graph.aupdate_state(at_one.config, {"n": 2, "log": ["by hand"]})
    result = await graph.ainvoke(None, changed, durability="sync")
    assert result == {"n": 3, "log": ["add 1", "by hand", "add 3"]}
    replayed = await graph.ainvoke(None, at_one.config, durability="sync")
    assert replayed["log"] == ["add 1", "add 2", "add 3"]


async def test_sends_commands_and_a_subgraph_that_remembers(g: Any, saver: Any) -> None:
    histories: list[Any] = []
    for one in (saver, g.InMemorySaver()):
        graph = g.sending(one)
        for _ in range(2):
            await graph.ainvoke({"log": []}, g.thread(), durability="sync")
        histories.append([s.values async for s in graph.aget_state_history(g.thread())])
    assert histories[0] == histories[1]
    assert {"visit a", "visit b", "visit c", "inner 2"} <= set(histories[0][0]["log"])
    namespaces = {t.config["configurable"]["checkpoint_ns"] for t in saver.list(g.thread())}
    assert namespaces == {"", "child"}


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_every_durability_ends_with_the_same_state(
    g: Any, saver: Any, durability: str
) -> None:
    graph = g.delta(saver)
    for _ in range(6):
        await graph.ainvoke({}, g.thread(), durability=durability)
    assert (await graph.aget_state(g.thread())).values["log"] == [f"add {n}" for n in range(1, 7)]


# ---------------------------------------------------------------------- removing and copying


async def rounds(g: Any, saver: Any, count: int, name: str = "t", **fields: Any) -> Any:
    graph = g.delta(saver)
    for _ in range(count):
        await graph.ainvoke({}, {**g.thread(name), **fields}, durability="sync")
    return graph


@pytest.mark.parametrize("count", range(1, 7))
async def test_pruning_keeps_what_a_delta_channel_is_rebuilt_from(
    g: Any, saver: Any, count: int
) -> None:
    graph = await rounds(g, saver, count)
    expected = [f"add {n}" for n in range(1, count + 1)]
    for _ in range(2):
        await saver.aprune(["t"])
        assert len([t async for t in saver.alist(g.thread())]) == 1
        assert (await graph.aget_state(g.thread())).values["log"] == expected
    await rounds(g, saver, 3)
    expected += [f"add {n}" for n in range(count + 1, count + 4)]
    assert (await graph.aget_state(g.thread())).values["log"] == expected
    saver.prune(["t"])
    assert graph.get_state(g.thread()).values["log"] == expected


async def test_deleting_a_run_keeps_what_later_ones_are_rebuilt_from(g: Any, saver: Any) -> None:
    for number in range(1, 4):
        await rounds(g, saver, 1, metadata={"run_id": f"run{number}"})
    await saver.adelete_for_runs(["run2"])
    runs = [t.metadata.get("run_id") async for t in saver.alist(g.thread())]
    assert set(runs) == {"run1", "run3"}
    graph = await rounds(g, saver, 1)
    assert (await graph.aget_state(g.thread())).values["log"] == [f"add {n}" for n in range(1, 5)]
    # The chain of parents is whole: history goes back to the first run.
    ids = {t.config["configurable"]["checkpoint_id"]: t async for t in saver.alist(g.thread())}
    parents = [t.parent_config for t in ids.values() if t.parent_config is not None]
    assert all(parent["configurable"]["checkpoint_id"] in ids for parent in parents)


async def test_a_copy_is_a_thread_of_its_own(g: Any, saver: Any) -> None:
    graph = await rounds(g, saver, 3)
    await saver.acopy_thread("t", "copy")
    await rounds(g, saver, 1, "copy")
    assert len((await graph.aget_state(g.thread())).values["log"]) == 3
    assert len((await graph.aget_state(g.thread("copy"))).values["log"]) == 4
    with pytest.raises(Conflict, match="thread 'copy' has checkpoints"):
        await saver.acopy_thread("t", "copy")
    await saver.adelete_thread("t")
    assert len((await graph.aget_state(g.thread("copy"))).values["log"]) == 4


async def test_nothing_of_a_deleted_thread_is_left(g: Any, tmp_path: Path) -> None:
    saver = g.OmiumSaver(str(tmp_path))
    parts = ["".join(random.choices(string.printable, k=40_000)) for _ in range(3)]
    await g.growing(saver, parts).ainvoke({"parts": []}, g.thread(), durability="sync")
    assert database(tmp_path).stat().st_size > 100_000
    await saver.adelete_thread("t")
    # Neither in a row nor in a page that no row uses any more.
    assert database(tmp_path).stat().st_size < 32_000
    with closing(sqlite3.connect(database(tmp_path))) as connection:
        assert connection.execute("SELECT * FROM objects").fetchall() == []


# ---------------------------------------------------------------------- large states


async def test_a_growing_state_is_not_stored_anew_in_each_step(g: Any, tmp_path: Path) -> None:
    parts = ["".join(random.choices(string.ascii_letters, k=5_000)) for _ in range(60)]
    saver = g.OmiumSaver(str(tmp_path))
    graph = g.growing(saver, parts)
    config = {**g.thread(), "recursion_limit": 100}
    await graph.ainvoke({"parts": []}, config, durability="sync")
    size = database(tmp_path).stat().st_size
    whole = sum(len("".join(parts[:n])) for n in range(len(parts)))
    assert size < whole / 5
    again = g.growing(g.OmiumSaver(str(tmp_path)), parts)
    history = [s.values["parts"] async for s in again.aget_state_history(config)]
    assert [len(one) for one in history][:2] == [60, 59]
    assert history[10] == parts[:50]
    # Pruning removes what only the checkpoints before had used.
    await saver.aprune(["t"])
    assert (await again.aget_state(config)).values["parts"] == parts
    assert database(tmp_path).stat().st_size < size / 2


# ---------------------------------------------------------------------- order


class SlowThreads(MemoryThreads):
    """Writes of tasks take until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go, self.waiting = asyncio.Event(), asyncio.Event()
        self.order: list[str] = []

    async def put_writes(self, record: WritesRecord) -> None:
        self.waiting.set()
        await self.let_go.wait()
        self.order.append("writes")
        await super().put_writes(record)

    async def put_checkpoint(self, record: CheckpointRecord) -> None:
        self.order.append("checkpoint")
        await super().put_checkpoint(record)


async def test_a_checkpoint_waits_for_the_writes_that_it_comes_of(g: Any) -> None:
    threads = SlowThreads()
    graph = g.counting(g.OmiumSaver(threads), to=1)
    run = asyncio.create_task(graph.ainvoke({"n": 0, "log": []}, g.thread(), durability="sync"))
    await threads.waiting.wait()
    for _ in range(100):  # turns of the loop, in which a checkpoint that does not wait is put
        await asyncio.sleep(0)
    assert threads.order == ["checkpoint"]  # that of the input, which comes of no task
    threads.let_go.set()
    await run
    assert threads.order == ["checkpoint", "writes", "checkpoint", "writes", "checkpoint"]


class FailingThreads(MemoryThreads):
    async def put_writes(self, record: WritesRecord) -> None:
        await asyncio.sleep(0)
        raise OSError("no space left")


async def test_no_checkpoint_is_stored_whose_writes_were_not(g: Any) -> None:
    threads = FailingThreads()
    graph = g.counting(g.OmiumSaver(threads))
    with pytest.raises(OSError, match="no space left"):
        await graph.ainvoke({"n": 0, "log": []}, g.thread(), durability="sync")
    assert len(threads.checkpoints) == 1


@pytest.mark.slow
async def test_no_finished_step_is_repeated_after_kill_9(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    command = (sys.executable, "-m", "tests.frameworks.saver_child", str(tmp_path / "store"), log)
    for lines in (2, 3, 4):
        child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        async with asyncio.timeout(30):
            assert child.stdout is not None
            for _ in range(lines):
                await child.stdout.readline()
        child.kill()
        await child.wait()
    last = await asyncio.create_subprocess_exec(*command)
    assert await last.wait() == 0
    steps = [int(line) for line in log.read_text().split()]
    # A step may be cut short and be run again; once a later one has begun it never is.
    assert steps == sorted(steps)
    assert set(steps) == set(range(1, 13))
    assert len(steps) <= 12 + 3


# ---------------------------------------------------------------------- what is read is data


async def test_no_type_is_built_that_was_not_allowed(
    g: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await g.holding(g.OmiumSaver(str(tmp_path)), g.Secret("s")).ainvoke(
        {"held": None}, g.thread(), durability="sync"
    )
    (strict,) = [t async for t in g.OmiumSaver(str(tmp_path)).alist(g.thread(), limit=1)]
    assert strict.checkpoint["channel_values"]["held"] == {"word": "s"}
    assert "Blocked deserialization" in caplog.text
    for allowed in (g.Secret, ("tests.frameworks.saver_graphs", "Secret")):
        saver = g.OmiumSaver(str(tmp_path), allow=[allowed])
        (loose,) = [t async for t in saver.alist(g.thread(), limit=1)]
        assert loose.checkpoint["channel_values"]["held"] == g.Secret("s")


async def test_damage_is_named(g: Any, tmp_path: Path) -> None:
    saver = g.OmiumSaver(str(tmp_path))
    await g.counting(saver).ainvoke({"n": 0, "log": []}, g.thread(), durability="sync")
    with closing(sqlite3.connect(database(tmp_path), isolation_level=None)) as connection:
        for key, body in connection.execute("SELECT key, body FROM objects").fetchall():
            body = body[:-1] + bytes([body[-1] ^ 1])
            connection.execute("UPDATE objects SET body = ? WHERE key = ?", (body, key))
    with pytest.raises(CorruptBlob):
        await saver.aget_tuple(g.thread())


@pytest.mark.parametrize("name", ["../../etc", "a/b", "", ".", "ü" * 40, "x" * 190])
async def test_any_id_is_a_name_and_no_path(g: Any, tmp_path: Path, name: str) -> None:
    saver = g.OmiumSaver(str(tmp_path / "in"))
    checkpoint: Any = {
        "v": 1, "id": name or "-", "ts": "", "channel_values": {"x": 1},
        "channel_versions": {"x": 1}, "versions_seen": {}, "updated_channels": None,
    }  # fmt: skip
    config = g.thread(name, checkpoint_ns=name)
    stored = await saver.aput(config, checkpoint, {"source": "loop", "step": 1}, {"x": 1})
    await saver.aput_writes(stored, [("x", 2)], name, name)
    found = await saver.aget_tuple(config)
    assert found.config == stored and found.pending_writes == [(name, "x", 2)]
    assert [t.config async for t in saver.alist(None)] == [stored]
    assert files_in(tmp_path) == {f"in/{FILE_NAME}"}


async def test_tenants_share_a_store_and_nothing_else(g: Any, tmp_path: Path) -> None:
    one, other = (g.OmiumSaver(str(tmp_path), tenant=tenant) for tenant in ("one", "other"))
    await rounds(g, one, 1)
    assert await other.aget_tuple(g.thread()) is None
    assert [t async for t in other.alist(None)] == []
    await other.adelete_thread("t")
    assert await one.aget_tuple(g.thread()) is not None


# ---------------------------------------------------------------------- mistakes


async def test_mistakes_are_told(g: Any, saver: Any) -> None:
    with pytest.raises(InputError, match="thread_id"):
        await saver.aget_tuple({"configurable": {}})
    with pytest.raises(InputError, match="writes belong to a checkpoint"):
        await saver.aput_writes(g.thread(), [("x", 1)], "task")
    with pytest.raises(InputError, match="expected 'keep_latest' or 'delete'"):
        await saver.aprune(["t"], strategy="keep_some")
    with pytest.raises(InputError, match="over 200 bytes"):
        await saver.aget_tuple(g.thread(checkpoint_id="x" * 300))
    with pytest.raises(ConfigError, match="expected memory://"):
        g.OmiumSaver("postgres://somewhere")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_a_loop_of_its_own(g: Any, tmp_path: Path) -> None:
    saver = g.OmiumSaver(str(tmp_path))
    graph = g.counting(saver)
    graph.invoke({"n": 0, "log": []}, g.thread())
    child = os.fork()
    if child == 0:
        os._exit(0 if saver.get_tuple(g.thread()) is not None else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
