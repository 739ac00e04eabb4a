"""Become Ray Serve's proxy: one that is killed when the process that started it dies, and whose
own pages are for this machine alone.

``python -IS tether.py PORT,PORT PROGRAM ARGUMENTS`` runs by itself and imports nothing of Omium's;
the ports are those pages'. Ray sometimes leaves Serve's proxy behind when its node is killed; it
would keep the port, and answer errors there.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that this process gets once its parent is gone. Kept by execve(2)."""

_EVERYWHERE = ("bind *:", "bind :")
"""How Serve's template writes the addresses of HAProxy's metrics and statistics pages, for which
there is no setting, and that of the service, where it is to be reached from everywhere."""


def narrow(path: str, ports: list[str]) -> None:
    """Rewrite a configuration of HAProxy's so that ``ports`` are those of the loopback address.

    Serve writes the file anew before each start, and recognises its HAProxy by the file's name.
    """
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib takes as long as the rest
        text = file.read()
    wide = {f"{bind}{port}": f"bind 127.0.0.1:{port}" for bind in _EVERYWHERE for port in ports}
    lines = [wide.get(line.strip(), line) for line in text.splitlines()]
    with open(f"{path}.narrow", "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write("\n".join(lines) + "\n")
    os.replace(f"{path}.narrow", path)  # noqa: PTH105


if __name__ == "__main__":
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:
            # It died before that was asked for.
            sys.exit(1)
    if "-f" in sys.argv:
        narrow(sys.argv[sys.argv.index("-f") + 1], sys.argv[1].split(","))
    os.execv(sys.argv[2], sys.argv[2:])
