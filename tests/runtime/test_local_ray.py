"""A Ray that does not start leaves nothing behind, and says so in one line."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from omium.config import RaySettings
from omium.errors import Unavailable
from omium.runtime import local_ray
from omium.runtime.local_ray import STARTS_MAX, RayCluster


def test_what_ray_began_to_start_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[subprocess.Popen[bytes]] = []

    def init(**_: Any) -> None:
        begun.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))
        # What Ray 2.60 raises on a machine that is too busy for it.
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(local_ray.ray, "init", init)
    # Else one is made for this process, and stays.
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of this test")
    with pytest.raises(Unavailable, match="cannot start Ray here: The current node timed out"):
        RayCluster.connect(None, RaySettings())
    assert len(begun) == STARTS_MAX
    for process in begun:
        assert not psutil.pid_exists(process.pid)
        with process:
            process.wait()


def test_a_ray_that_was_too_slow_is_started_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[str] = []

    def init(**options: Any) -> SimpleNamespace:
        tries.append(options["address"])
        if len(tries) == 1:
            raise Exception("The current node timed out during startup.")
        return SimpleNamespace(dashboard_url="")

    monkeypatch.setattr(local_ray.ray, "init", init)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of this test")
    cluster = RayCluster.connect(None, RaySettings())
    cluster.close()
    assert tries == ["local", "local"]
    assert not cluster.scratch_dir.exists()


def test_a_ray_that_is_joined_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[str] = []

    def init(**options: Any) -> None:
        tries.append(options["address"])
        raise RuntimeError("no such cluster")

    monkeypatch.setattr(local_ray.ray, "init", init)
    with pytest.raises(Unavailable, match="cannot join Ray at 'auto': no such cluster"):
        RayCluster.connect("auto", RaySettings())
    assert tries == ["auto"]
