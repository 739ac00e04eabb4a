"""The blocking facade, from a thread of its own beside the service's event loop."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from omium.client import Client
from omium.errors import ConfigError, ExecutionFailed, NotFound
from tests.actors.gates import gate
from tests.actors.stage import MODEL
from tests.client.test_aio import doing
from tests.serve.api.stage import Served, definition, served


def loops() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name == "omium-client"]


def _everything(s: Served) -> None:
    with Client(s.url, s.key, retry_s=5) as client:
        assert client.address == s.url
        client.register(definition())
        assert client.workflow("tested").version == "1"
        assert [one.name for one in client.workflows()] == ["tested"]
        run = client.run("tested", **doing({"ask": "one"}, {"checkpoint": "half"}))
        assert run.result(timeout_s=20) == {"heard": ["echo: one"]}
        events = list(run.events())
        assert [event.data for event in events] == list(run.journal())
        (point,) = run.checkpoints()
        assert run.state(point.index) == {"at": 2, "heard": ["echo: one"]}
        again = client.execution(run.fork(point.index).id)
        assert again.result(timeout_s=20) == {"heard": ["echo: one"]}
        assert {one.id for one in client.executions()} == {run.id, again.id}
        failing = client.run("tested", {"do": [{"fail": "no luck"}]}, model=MODEL)
        with pytest.raises(ExecutionFailed, match="no luck"):
            failing.result(timeout_s=20)
        failing.retry()
        with pytest.raises(ExecutionFailed):
            failing.result(timeout_s=20)
        with pytest.raises(NotFound):
            client.execution("ex_none").view()
        key = client.create_key("one", ["run"])
        client.revoke_key(key.id)
        assert "one" in [one.name for one in list(client.keys())]
        assert [one.id for one in client.executions(id_prefix=run.id)] == [run.id]
        hook = client.create_webhook("https://example.com/hook", ["execution.failed"])
        assert [one.id for one in client.webhooks()] == [client.webhook(hook.id).id]
        assert client.rotate_webhook(hook.id).secret != hook.secret
        assert list(client.deliveries(hook.id)) == []
        with pytest.raises(NotFound):
            client.redeliver(hook.id, "ex_none@1")
        assert client.delete_webhook(hook.id).url == hook.url
        with pytest.raises(NotFound):
            client.test_webhook(hook.id)
    assert loops() == []


async def test_everything_blocks(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        await asyncio.to_thread(_everything, s)


def _leaving(s: Served, held: str) -> None:
    with Client(s.url, s.key, retry_s=5) as client:
        run = client.run("tested", **doing({"hold": held}))
        for event in run.events(live=True):
            assert event.index == 1
            break
        # Its one place is free again, or this would wait in vain.
        following = run.events()
        assert next(following).index == 1
    assert loops() == []
    # Closed with the client under it; nobody is hurt.
    following.close()


async def test_an_iterator_is_left_early(tmp_path: Path) -> None:
    async with served(tmp_path, settings={"streams_per_key_max": 1}) as s:
        await s.register()
        with gate() as held:
            await asyncio.to_thread(_leaving, s, held.name)


def test_a_wrong_address_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMIUM_ADDRESS", raising=False)
    with pytest.raises(ConfigError, match="OMIUM_ADDRESS"):
        Client()
    with pytest.raises(ConfigError, match="expected http"):
        Client("localhost:8700")
    assert loops() == []
