"""Ten steps of a LangGraph graph under four checkpointers: none, Omium's, SQLite's, PostgreSQL's.

One graph, one process, ``durability="sync"``, the blocking API of each, and the savers taken in
turn within every round, so that whatever else the machine does meets all of them. What a step
takes is a run's time divided by its steps. PostgreSQL is a server of this benchmark's own on a
Unix socket, with its stock settings, which wait for the disk; SQLite has ``synchronous=FULL``.

``omium_bytes`` and ``postgres_bytes`` are what the disk holds after 200 steps of a state that
begins with 100 KB and grows by 512 bytes a step: allocated blocks of Omium's files, and
PostgreSQL's tables with their indexes and TOAST. Write-ahead logs are not counted: they are of
one size whatever is stored, and both have been written back into the data.
"""

from __future__ import annotations

import argparse
import json
import operator
import random
import sqlite3
import string
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, TypedDict

from benchmarks.machine import describe, fdatasync_ms, percentile
from benchmarks.postgres import MISSING, postgres, programs

STEPS = 10
SIZES = {"": 1_000, "_100kb": 100_000}
LONG_STEPS = 200
GROWTH_BYTES = 512
ITEM_BYTES = 1_000
PACKAGES = ("langgraph", "langgraph-checkpoint-sqlite", "langgraph-checkpoint-postgres", "psycopg")


class State(TypedDict):
    """What a run carries along: ``told`` is of the size asked for, and grows if it is to."""

    n: int
    steps: int
    grows: int
    told: Annotated[list[str], operator.add]


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks savers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="runs with each saver and size")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    options = parser.parse_args(argv)
    missing = unmet()
    if missing:
        sys.exit("\n".join(missing))
    with tempfile.TemporaryDirectory(prefix="omium-bench-", dir=options.folder) as folder:
        # PostgreSQL runs as another user, who has to get to its own folder in here.
        Path(folder).chmod(0o711)
        figures = measure(Path(folder), options.rounds)
    print(json.dumps(figures))


def unmet() -> list[str]:
    """What has to be installed before this can run, one line each."""
    lines: list[str] = []
    for package in PACKAGES:
        try:
            version(package)
        except PackageNotFoundError:
            lines.append(f"{package} is not installed: pip install 'omium[langgraph,bench]'")
    if programs() is None:
        lines.append(MISSING)
    return lines


def measure(folder: Path, rounds: int) -> dict[str, Any]:
    """All figures of one run, with what they were measured on."""
    figures: dict[str, Any] = {"benchmark": "savers", **describe()}
    figures |= {package: version(package) for package in PACKAGES}
    floor_ms = fdatasync_ms(folder)
    with savers(folder) as made:
        figures["omium_store"] = "local directory, one fsync a commit"
        graphs = {name: graph(saver) for name, saver in made.items()}
        for suffix, size in SIZES.items():
            taken = interleaved(graphs, size, rounds)
            for name, values in taken.items():
                figures[f"{name}_ms{suffix}"] = round(percentile(values, 0.5), 3)
            print(f"{size} B: " + said(figures, suffix), flush=True)
    floor_ms += fdatasync_ms(folder)
    figures["fdatasync_ms_p50"] = round(percentile(floor_ms, 0.5), 3)
    with savers(folder / "long", only=("omium", "postgres")) as made:
        (folder / "long").chmod(0o711)
        for name in ("omium", "postgres"):
            run(graph(made[name]), name, 100_000, steps=LONG_STEPS, grows=GROWTH_BYTES)
        figures["omium_bytes"] = file_bytes(folder / "long" / "omium")
        figures["postgres_bytes"] = table_bytes(made["postgres"].conn)
    for suffix in SIZES:
        none = figures[f"none_ms{suffix}"]
        added = {name: figures[f"{name}_ms{suffix}"] - none for name in ("omium", "postgres")}
        figures[f"added_ratio{suffix}"] = round(added["omium"] / added["postgres"], 3)
    figures["bytes_ratio"] = round(figures["omium_bytes"] / figures["postgres_bytes"], 3)
    return figures


@contextmanager
def savers(
    folder: Path, *, only: tuple[str, ...] = ("none", "omium", "sqlite", "postgres")
) -> Iterator[dict[str, Any]]:
    """The savers, each with a store of its own below ``folder``."""
    from langgraph.checkpoint.postgres import PostgresSaver
    from langgraph.checkpoint.sqlite import SqliteSaver

    from omium.frameworks.langgraph_saver import OmiumSaver

    folder.mkdir(exist_ok=True)
    folder.chmod(0o711)
    with ExitStack() as stack:
        made: dict[str, Any] = {}
        if "none" in only:
            made["none"] = None
        if "omium" in only:
            made["omium"] = OmiumSaver(str(folder / "omium"))
        if "sqlite" in only:
            path = folder / "sqlite.db"
            connection = sqlite3.connect(path, check_same_thread=False)
            stack.callback(connection.close)
            made["sqlite"] = SqliteSaver(connection)
            made["sqlite"].setup()
            # FULL is SQLite's default; said, since a distribution may choose another.
            connection.execute("PRAGMA synchronous = FULL")
        if "postgres" in only:
            address = stack.enter_context(postgres(folder))
            made["postgres"] = stack.enter_context(PostgresSaver.from_conn_string(address))
            made["postgres"].setup()
        yield made


def graph(saver: Any) -> Any:
    """Ten supersteps of one node, which adds nothing but a number, or some text if it grows."""
    from langgraph.graph import END, START, StateGraph

    def step(state: State) -> dict[str, Any]:
        more = [text(state["grows"])] if state["grows"] else []
        return {"n": state["n"] + 1, "told": more}

    builder = StateGraph(State)
    builder.add_node("step", step)
    builder.add_edge(START, "step")
    builder.add_conditional_edges(
        "step", lambda state: "step" if state["n"] < state["steps"] else END
    )
    return builder.compile(checkpointer=saver)


def run(compiled: Any, thread: str, size: int, *, steps: int = STEPS, grows: int = 0) -> float:
    """Milliseconds of a step of one run."""
    whole = [text(ITEM_BYTES) for _ in range(size // ITEM_BYTES)]
    config = {"configurable": {"thread_id": thread}, "recursion_limit": steps + 1}
    given = {"n": 0, "steps": steps, "grows": grows, "told": whole}
    options: dict[str, Any] = {"durability": "sync"} if compiled.checkpointer else {}
    started = time.perf_counter()
    result = compiled.invoke(given, config, **options)
    taken_ms = (time.perf_counter() - started) * 1000
    assert result["n"] == steps
    return taken_ms / steps


def interleaved(graphs: Mapping[str, Any], size: int, rounds: int) -> dict[str, list[float]]:
    """What a step took in each round, by saver. The first two rounds are not counted."""
    taken: dict[str, list[float]] = {name: [] for name in graphs}
    order = list(graphs)
    for number in range(rounds + 2):
        random.shuffle(order)
        for name in order:
            step_ms = run(graphs[name], f"{size}-{number}", size)
            if number >= 2:
                taken[name].append(step_ms)
    return taken


def text(size: int) -> str:
    """Random letters and digits: close to what cannot be compressed."""
    return "".join(random.choices(string.ascii_letters + string.digits, k=size))


def file_bytes(folder: Path) -> int:
    """Bytes that the disk has set aside for the files of the saver, its log written back."""
    (database,) = folder.glob("*.sqlite")
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return sum(path.stat().st_blocks * 512 for path in folder.iterdir())


def table_bytes(connection: Any) -> int:
    """Bytes of all of the saver's tables, with indexes and TOAST."""
    query = "SELECT sum(pg_total_relation_size(oid)) AS size FROM pg_class WHERE relkind = 'r'"
    query += " AND relname LIKE 'checkpoint%'"
    return int(connection.execute(query).fetchone()["size"])


def said(figures: Mapping[str, Any], suffix: str) -> str:
    names = ("none", "omium", "sqlite", "postgres")
    return ", ".join(f"{name} {figures[f'{name}_ms{suffix}']} ms" for name in names)
