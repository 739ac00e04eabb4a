"""What Serve is told about files and ports, and what stays with a data directory."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from omium.errors import CorruptRecord
from omium.ports import free_ports
from omium.serve.composition import IDENTITY_NAME, PEPPER_NAME, kept_identity, pepper_of
from omium.serve.edge import BINARY, edge_environment
from tests.cli.programs import listens, wait_for

NODE_ID_CHARS = 56
SOCKET_PATH_MAX = 97
"""HAProxy's UNIX_MAX_PATH."""


def test_two_services_share_no_port_and_no_file(tmp_path: Path) -> None:
    directories = (tmp_path / "one", tmp_path / "two")
    for directory in directories:
        directory.mkdir()
    one, two = map(edge_environment, directories)
    of_their_own = [name for name in one if name.endswith(("_PORT", "_PATH", "_LOC", "_FILE"))]
    assert len(of_their_own) == 9
    values = [values[name] for values in (one, two) for name in of_their_own]
    assert len(set(values)) == len(values)


def test_the_paths_of_sockets_are_short_enough(tmp_path: Path) -> None:
    told = edge_environment(tmp_path)
    scratch = Path(tempfile.gettempdir()) / "omium-4194304-12345678" / "e"
    for name in ("SOCKET_PATH", "METRICS_SOCKET_PATH"):
        path = scratch / Path(told[f"RAY_SERVE_HAPROXY_{name}"]).name
        assert len(str(path.parent / ("0" * NODE_ID_CHARS) / path.name)) < SOCKET_PATH_MAX


def test_every_variable_is_one_that_serve_reads(tmp_path: Path) -> None:
    spec = find_spec("ray")
    assert spec is not None and spec.origin is not None
    source = (Path(spec.origin).parent / "serve" / "_private" / "constants.py").read_text()
    assert [name for name in edge_environment(tmp_path) if f'"{name}"' not in source] == []


def test_the_identity_and_the_pepper_stay(tmp_path: Path) -> None:
    first = kept_identity(tmp_path, "rt_1")
    assert kept_identity(tmp_path, "rt_2") == first
    assert first.runtime_id == "rt_1"
    assert first.secret not in repr(first)
    assert pepper_of(tmp_path) == pepper_of(tmp_path)
    assert len(pepper_of(tmp_path)) == 32
    assert first.coordinator_port != first.gateway_port


def test_an_identity_or_pepper_that_is_spoilt_is_named(tmp_path: Path) -> None:
    (tmp_path / IDENTITY_NAME).write_text("{}")
    (tmp_path / PEPPER_NAME).write_bytes(b"short")
    with pytest.raises(CorruptRecord, match=IDENTITY_NAME):
        kept_identity(tmp_path, "rt_1")
    with pytest.raises(CorruptRecord, match=PEPPER_NAME):
        pepper_of(tmp_path)


@contextmanager
def child_of_another(command: list[str]) -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """A process that starts ``command``, and the one that it starts."""
    program = (
        "import subprocess, sys, time; "
        "print(subprocess.Popen(sys.argv[1:]).pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, *command], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    try:
        yield parent, child
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
        with suppress(psutil.NoSuchProcess):
            child.kill()


def test_the_proxy_is_haproxy_and_ends_with_whoever_started_it(tmp_path: Path) -> None:
    environment = edge_environment(tmp_path)
    launcher = environment[BINARY]
    figures = int(environment["RAY_SERVE_HAPROXY_METRICS_PORT"])
    statistics = int(environment["RAY_SERVE_HAPROXY_STATS_PORT"])
    said = subprocess.run([launcher, "-v"], capture_output=True, text=True, check=True)
    assert "HAProxy version" in said.stdout

    config = tmp_path / "haproxy.cfg"
    (port,) = free_ports(1)
    config.write_text(
        "defaults\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n"
        # As Serve writes it where the service is to be reached from everywhere.
        f"frontend one\n bind *:{port}\n"
        f"frontend two\n    bind :{figures}\nlisten three\n  bind *:{statistics}\n"
    )
    with child_of_another([launcher, "-db", "-f", str(config)]) as (parent, proxy):
        wait_for(lambda: listens("127.0.0.1", statistics), "the proxy does not listen")
        # What Serve has listen everywhere by itself is for this machine; what is asked for stays.
        heard = {one.laddr.port: one.laddr.ip for one in proxy.net_connections("inet")}
        assert heard == {port: "0.0.0.0", figures: "127.0.0.1", statistics: "127.0.0.1"}
        parent.kill()
        parent.wait()
        wait_for(lambda: not listens("127.0.0.1", port), "the proxy outlives its parent")


def test_serve_writes_the_addresses_that_are_narrowed() -> None:
    spec = find_spec("ray")
    assert spec is not None and spec.origin is not None
    private = Path(spec.origin).parent / "serve" / "_private"
    template = (private / "haproxy_templates.py").read_text()
    binds = [line.strip() for line in template.splitlines() if line.strip().startswith("bind ")]
    wide = [bind for bind in binds if bind.startswith(("bind *:", "bind :"))]
    assert sorted(wide) == ["bind *:{{ config.stats_port }}", "bind :{{ config.metrics_port }}"]
