"""What every framework's agents do when they are cancelled in a tool that blocks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from omium.execution.events import type_of
from omium.testing.adapter_laws import Bench, Subject, ledger
from tests.actors.gates import gate

WAIT_S = 30.0


class CancelledInATool:
    """Beside the laws, with the same ``subject``."""

    async def test_a_cancelled_tool_is_not_heard_of_again(
        self, subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with gate() as held:
            returned = asyncio.Event()
            loop = asyncio.get_running_loop()

            def pay(ledger: str) -> str:
                """Pay from a ledger."""
                held.hold(ledger)
                loop.call_soon_threadsafe(returned.set)
                return "paid"

            monkeypatch.setattr(ledger, "pay", pay)
            async with (
                asyncio.timeout(WAIT_S * 2),
                Bench(subject, tmp_path).stage(subject.tool("pay")) as stage,
            ):
                await held.reached()
                asked = stage.provider.received
                await stage.client.cancel(stage.execution_id)
                # Its process is ended, since it cannot be stopped otherwise.
                await stage.idle()
                held.open()
                await returned.wait()
                # Whatever it has to tell, the coordinator has had the time to be told.
                for _ in range(3):
                    await stage.client.runtime()
                assert stage.runtime.replica is not None
                entries = stage.runtime.replica.journal.entries(stage.execution_id)
                assert type_of(entries[-1].event) == "execution.cancelled"
                assert stage.provider.received == asked
        assert len(held.notes) == 1
