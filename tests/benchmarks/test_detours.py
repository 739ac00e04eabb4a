"""The proxies that stand between coordinators where no hosts can be cut off."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.chaos.proxies import Proxies
from benchmarks.detours import detour, ways
from omium.ports import free_ports

HOST = "127.0.0.1"
WAIT_S = 20.0
SILENCE_S = 0.3
SEATED = """
import json
from omium.actors.group.peers import Peers
made = Peers.__new__(Peers)
try:
    made.__init__(1, {1: ("h", 1), 2: ("h", 2)}, b"", on_message=None, on_join=None, on_part=None,
                  on_look=None, on_refused=None)
except RuntimeError:
    pass  # There is no loop for its streams.
print(json.dumps(made._own))
"""


@pytest.fixture
def proxies(tmp_path: Path) -> Iterator[tuple[Proxies, dict[str, str]]]:
    made = Proxies(tmp_path / "ways")
    try:
        yield made, made.open()
    finally:
        made.close()
        made.close()


def test_a_way_is_the_same_in_every_life(tmp_path: Path) -> None:
    first = detour(tmp_path, 1, 2, ("h", 7))
    assert detour(tmp_path, 1, 2, ("h", 7)) == first
    assert detour(tmp_path, 2, 1, ("h", 8)) != first
    assert ways(tmp_path)[1, 2] == (first, ("h", 7))
    assert len(ways(tmp_path)) == 2


def test_a_coordinators_process_goes_through_them_and_listens_where_it_did(
    proxies: tuple[Proxies, dict[str, str]], tmp_path: Path
) -> None:
    _, environment = proxies
    told = subprocess.run(
        [sys.executable, "-c", SEATED],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=WAIT_S,
    )
    assert json.loads(told.stdout) == ["h", 1]
    assert [to for _, to in ways(tmp_path / "ways").values()] == [("h", 2)]


def test_one_way_falls_silent_and_the_other_does_not(
    proxies: tuple[Proxies, dict[str, str]], tmp_path: Path
) -> None:
    made, _ = proxies
    (port,) = free_ports(1)
    with socket.create_server((HOST, port)) as server:
        server.settimeout(WAIT_S)
        there, back = (
            _connected(detour(tmp_path / "ways", *pair, (HOST, port)), server)
            for pair in ((1, 2), (2, 1))
        )
        for stream in (there, back):
            _says(stream, b"a")
        made.cut([(1, 2)])
        there[0].sendall(b"b")
        there[1].settimeout(SILENCE_S)
        with pytest.raises(TimeoutError):
            there[1].recv(1)
        _says(back, b"b")
        made.mend()
        there[1].settimeout(WAIT_S)
        assert there[1].recv(1) == b"b"
        for one in (*there, *back):
            one.close()


Ends = tuple[socket.socket, socket.socket]


def _connected(address: tuple[str, int], server: socket.socket) -> Ends:
    """The two ends of a stream through a proxy, which listens once it has seen its way."""
    while True:
        try:
            source = socket.create_connection(address, timeout=WAIT_S)
            break
        except ConnectionRefusedError:
            continue
    target, _ = server.accept()
    return source, target


def _says(ends: Ends, text: bytes) -> None:
    source, target = ends
    target.settimeout(WAIT_S)
    source.sendall(text)
    assert target.recv(len(text)) == text
