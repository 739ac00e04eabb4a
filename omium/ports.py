"""Free ports, for what will listen a little later, in this process or another.

A port that the kernel picks (bind to 0) is of the range that it also gives to outgoing
connections, so between the pick and the listening, which may be many seconds, anybody's
connection can take it. These come from below that range instead, and concurrent processes look
for theirs in different places, by their process id.
"""

from __future__ import annotations

import errno
import os
import socket
from itertools import count

from omium.errors import ConfigError

FIRST, LAST = 20_000, 29_999
"""Above them come the ports that Ray Serve's replicas choose, from 30000, and the kernel's own,
from 32768 on Linux and 49152 elsewhere (RFC 6335); below them Ray's workers, up to 19999."""
BLOCK = 32
"""How far apart processes that follow one another begin to look."""

_offered = count()


def free_ports(number: int, host: str = "127.0.0.1") -> list[int]:
    """``number`` different ports on which nobody listens now and this process offered to nobody
    lately. Raises ``ConfigError`` where ``host`` cannot be listened on."""
    found: list[int] = []
    span = LAST - FIRST + 1
    for _ in range(span):
        if len(found) == number:
            return found
        port = FIRST + (os.getpid() * BLOCK + next(_offered)) % span
        if _is_free(host, port):
            found.append(port)
    raise ConfigError(f"no {number} ports of {FIRST} to {LAST} are free on {host}")


def _is_free(host: str, port: int) -> bool:
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.bind((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise ConfigError(f"cannot listen on {host}: {error.strerror or error}") from error
    return True
