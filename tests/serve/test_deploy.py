"""The HTTP API deployed from a config file, on a Ray that nobody prepared for it."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from ruamel.yaml import YAML

from omium.errors import ConfigError
from omium.ports import free_ports
from omium.serve.composition import IDENTITY_NAME, PEPPER_NAME
from omium.serve.host import HostArguments
from tests.cli.programs import wait_for

EXAMPLE = Path(__file__).parents[2] / "examples" / "serve" / "serve.yaml"


def config_at(directory: Path, port: int) -> Path:
    """The example, with paths and a port of this test's own."""
    yaml = YAML(typ="safe")
    config: Any = yaml.load(EXAMPLE.read_text())
    config["http_options"] = {"host": "127.0.0.1", "port": port}
    args = config["applications"][0]["args"]
    args["data_dir"] = str(directory / "data")
    args["service"] = {"replicas": 1, "app_dir": str(directory), "warm": [], "grace_s": 1}
    path = directory / "serve.yaml"
    with path.open("w") as file:
        yaml.dump(config, file)
    return path


@contextmanager
def deployed(config: Path) -> Iterator[psutil.Process]:
    """``serve run``: a Ray of its own, with the application of ``config``, until it is left."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMIUM_", "RAY_"))}
    env = {**kept, "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    log = config.with_suffix(".log")
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "ray.serve.scripts", "run", str(config)],
            cwd=config.parent,
            env=env,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    top = psutil.Process(process.pid)
    try:
        yield top
    finally:
        started = top.children(recursive=True)
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        for one in started:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        process.kill()
        process.wait()


def is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz", trust_env=False, timeout=10).status_code == 200
    except httpx.HTTPError:
        return False


def find(top: psutil.Process, title: str) -> psutil.Process | None:
    for one in top.children(recursive=True):
        with suppress(psutil.Error):
            if title in " ".join(one.cmdline()):
                return one
    return None


@pytest.mark.ray
@pytest.mark.timeout(400)
def test_the_example_is_deployed_and_survives_its_host(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    config = config_at(tmp_path, port)
    with deployed(config) as top:

        def said() -> str:
            return config.with_suffix(".log").read_text()[-4_000:]

        wait_for(lambda: is_ready(address) or not top.is_running(), "it is not deployed")
        assert is_ready(address), said()
        kept = [(tmp_path / "data" / name).read_bytes() for name in (IDENTITY_NAME, PEPPER_NAME)]

        for title in ("ray::Host", "ray::CoordinatorActor", "ray::ServeReplica:omium"):
            killed = find(top, title)
            assert killed is not None, title
            killed.kill()
            wait_for(
                lambda title=title, killed=killed: (
                    (found := find(top, title)) is not None and found.pid != killed.pid
                ),
                f"{title} does not come back",
            )
            wait_for(lambda: is_ready(address), f"the API does not get over the end of {title}")
        assert kept == [
            (tmp_path / "data" / name).read_bytes() for name in (IDENTITY_NAME, PEPPER_NAME)
        ]


def test_wrong_settings_are_refused_before_anything_is_started() -> None:
    with pytest.raises(ConfigError, match="replicas"):
        HostArguments.of({"service": {"replicas": 0}})
