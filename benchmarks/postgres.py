"""A PostgreSQL server of one's own, for the benchmarks that run beside it.

Owns a data folder, a server process and its Unix socket, all gone at the end. Never touches a
server of the system's: only its programs are used, as Debian's package ``postgresql`` has them.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_DEBIAN = Path("/usr/lib/postgresql")
_START_S = 60
MISSING = "PostgreSQL is not installed: apt-get install postgresql (or put initdb on PATH)"


def programs() -> Path | None:
    """The folder with ``initdb`` and ``pg_ctl``; None where PostgreSQL is not installed."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    return max(_DEBIAN.glob("*/bin/initdb"), default=_DEBIAN / "x").parent if _newest() else None


def _newest() -> bool:
    return any(_DEBIAN.glob("*/bin/initdb"))


@contextmanager
def postgres(folder: Path | None = None) -> Iterator[str]:
    """A running server with its stock settings, below ``folder``; yields its connection string.

    It listens on a Unix socket only. PostgreSQL refuses to run as root: for root it runs as
    ``postgres``, else ``nobody``. Raises ``RuntimeError`` where it is not installed or does not
    start.
    """
    bin_folder = programs()
    if bin_folder is None:
        raise RuntimeError(MISSING)
    user = _user()
    with tempfile.TemporaryDirectory(prefix="omium-pg-", dir=folder) as name:
        root = Path(name)
        if user is not None:
            account = pwd.getpwnam(user)
            os.chown(root, account.pw_uid, account.pw_gid)
        data = root / "data"

        def run(program: str, *arguments: str) -> None:
            # To files: a server that inherits a pipe would keep its reader waiting.
            with (root / f"{program}.log").open("w") as log:
                done = subprocess.run(
                    [str(bin_folder / program), *arguments],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                    user=user, cwd=root, timeout=_START_S, check=False,
                )  # fmt: skip
            if done.returncode:
                said = (root / f"{program}.log").read_text()[-500:]
                raise RuntimeError(f"{program} ended with {done.returncode}: {said}")

        run("initdb", "-D", str(data), "-U", "bench", "-A", "trust", "-E", "UTF8", "--locale=C")
        options = f"-c listen_addresses= -c unix_socket_directories={root}"
        run("pg_ctl", "start", "-w", "-D", str(data), "-l", str(data / "server.log"), "-o", options)
        try:
            yield f"host={root} user=bench dbname=postgres"
        finally:
            run("pg_ctl", "stop", "-w", "-m", "fast", "-D", str(data))


def _user() -> str | None:
    """Whom to run the server as; None for whoever runs this."""
    if os.getuid() != 0:
        return None
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        return "nobody"
    return "postgres"
