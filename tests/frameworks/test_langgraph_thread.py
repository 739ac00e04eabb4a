"""The thread that a step commits is the thread that the next attempt is given."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from omium.errors import AgentError

pytestmark = [pytest.mark.langgraph, pytest.mark.xdist_group("langgraph")]


def saver_of(saved: Any, thread: str) -> Any:
    from omium.frameworks.langgraph_journal import JournalSaver
    from omium.frameworks.langgraph_places import Places
    from omium.frameworks.loop_thread import CallerLoop

    session: Any = SimpleNamespace(assignment=SimpleNamespace(saved=saved, steps=()))
    return JournalSaver(session, CallerLoop(), Places(), thread)


def values() -> dict[str, Any]:
    from langchain_core.messages import HumanMessage

    return {
        "json": {"json": {"kind": "json"}},
        "plain": [1, "é", None, {"a": [True, 2.5]}],
        "set": {1, 2},
        "bytes": b"\x00\xff",
        "keys": {1: "one", "1": "other"},
        "infinite": float("inf"),
        "messages": [HumanMessage("hello", id="m1")],
    }


@pytest.mark.parametrize("only", [None, "json"])
async def test_any_value_comes_back_as_it_was(only: str | None) -> None:
    given = {name: value for name, value in values().items() if only in (None, name)}
    checkpoint: Any = {
        "v": 4, "id": "1", "ts": "", "channel_values": given,
        "channel_versions": dict.fromkeys(given, 1), "versions_seen": {}, "updated_channels": None,
    }  # fmt: skip
    config: Any = {"configurable": {"thread_id": "mine", "checkpoint_ns": ""}}
    saver = saver_of(None, "mine")
    # As the input is: kept, and committed with the first step.
    stored = await saver.aput(config, checkpoint, {"source": "input", "step": -1}, {})
    await saver.aput_writes(stored, list(given.items()), "task", "~path")
    committed = json.loads(json.dumps(saver._saved(), allow_nan=False))
    again = saver_of(committed, "another")
    found = await again.aget_tuple({"configurable": {"thread_id": "another"}})
    assert found.checkpoint["channel_values"] == given
    assert found.pending_writes == [("task", name, value) for name, value in given.items()]
    assert found.metadata["source"] == "input"
    assert await again.aget_tuple(config) is None
    # What is JSON is there to be read.
    (shown,) = committed["checkpoints"]
    assert shown["values"]["json"] == {"json": {"json": {"kind": "json"}}}


async def test_a_checkpoint_of_another_version_is_refused() -> None:
    with pytest.raises(AgentError, match="not of version 1"):
        saver_of({"version": 2}, "mine")
