"""Free ports: nobody's, different, and out of the way of outgoing connections."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from omium import ports
from omium.errors import ConfigError
from omium.ports import FIRST, LAST, free_ports

_PRINT = "from omium.ports import free_ports; print(*free_ports(8))"


def test_they_differ_from_one_another_and_from_those_offered_before() -> None:
    offered = [*free_ports(20), *free_ports(20)]
    assert len({*offered}) == 40
    assert all(FIRST <= port <= LAST for port in offered)


def test_none_is_of_the_range_that_the_kernel_connects_from() -> None:
    told = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if not told.exists():
        pytest.skip("the range is asked for on Linux only")
    assert int(told.read_text().split()[0]) > LAST


def test_one_that_is_listened_on_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    (taken,) = free_ports(1)
    with socket.create_server(("127.0.0.1", taken)):
        monkeypatch.setattr(ports, "FIRST", taken - 10)
        monkeypatch.setattr(ports, "LAST", taken + 10)
        # As often as there are ports, so that the search begins at every one of them. Some of the
        # others may be somebody else's now, but not all of them.
        assert taken not in {free_ports(1)[0] for _ in range(21)}


def test_too_few_are_an_error_with_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    (taken,) = free_ports(1)
    with socket.create_server(("127.0.0.1", taken)):
        monkeypatch.setattr(ports, "FIRST", taken)
        monkeypatch.setattr(ports, "LAST", taken)
        with pytest.raises(ConfigError, match=f"no 1 ports of {taken} to {taken} are free"):
            free_ports(1)


def test_processes_that_start_together_are_offered_different_ones() -> None:
    started = [
        subprocess.Popen([sys.executable, "-c", _PRINT], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    offered = [port for one in started for port in one.communicate()[0].split()]
    assert len({*offered}) == len(offered) == 32


def test_an_address_of_another_machine_is_refused_with_its_name() -> None:
    with pytest.raises(ConfigError, match=r"cannot listen on 192\.0\.2\.1"):
        free_ports(1, "192.0.2.1")
