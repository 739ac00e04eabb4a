"""A member of a team dies in a process of its own, on a real Ray."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

import omium
from omium.config import load_settings
from omium.testing.script import Rule
from omium.testing.scripted import ScriptedProvider
from tests.frameworks.test_autogen_apart import act, booking

pytestmark = [pytest.mark.ray, pytest.mark.autogen, pytest.mark.timeout(400)]

WAIT_S = 240.0
GONE_S = 60.0


def test_a_member_dies_and_nothing_is_left_behind(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with ScriptedProvider([Rule(answer=act)]) as provider:
        settings = load_settings(
            {
                "data_dir": tmp_path / "data",
                "openai_base_url": provider.base_url,
                "openai_api_key": "k",
            }
        )
        try:
            execution = omium.run(
                booking(notes, idempotent=True), model="openai/scripted", settings=settings
            )
            assert execution.result(WAIT_S) == "APPROVE"
            ends = [e for e in execution.events() if e["type"] == "attempt.ended"]
            lines = notes.read_text().splitlines()
            processes = {int(line.split()[0]) for line in lines}
            # They are ended with their attempt, and the runtime is still there.
            deadline_s = time.monotonic() + GONE_S
            while any(map(psutil.pid_exists, processes)) and time.monotonic() < deadline_s:
                time.sleep(0.1)
            assert not any(map(psutil.pid_exists, processes))
        finally:
            omium.shutdown()
    assert ends[0]["end"] == "worker_lost"
    assert len(lines) == len(processes) == 2
    assert len(provider.calls) == 5
