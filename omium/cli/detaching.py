"""Starting a service in a session of its own, and waiting until it answers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from omium.cli.ending import STOP_TIMEOUT_S
from omium.cli.terminal import say
from omium.config import Settings
from omium.errors import StorageUnwritable
from omium.runtime.service_file import ServiceRecord, live_service

LOG_NAME = "service.log"
LOG_BYTES_MAX = 1024 * 1024
LINES_SHOWN = 20
START_TIMEOUT_S = 300.0
POLL_S = 0.1


def detached(settings: Settings, arguments: Sequence[str]) -> ServiceRecord | int:
    """Start ``omium ARGUMENTS`` on the data directory of ``settings``. Returns its record once
    it answers, or, when it does not come up, its exit code after showing the end of its log.

    Raises ``StorageUnwritable``.
    """
    log = settings.data_dir / LOG_NAME
    try:
        _rotate(log)
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageUnwritable(str(log), error.strerror or str(error)) from error
    with os.fdopen(handle, "ab") as stream:
        began = stream.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "omium", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        record = _wait(settings.data_dir, process)
    except BaseException:
        _end(process, settings)
        raise
    if record is not None:
        return record
    code = process.poll()
    if code is None:
        say(f"error: it did not come up within {START_TIMEOUT_S:g} s")
        _end(process, settings)
        code = 1
    say(f"the service did not come up; the end of {log}:")
    for line in _lines(log, began)[-LINES_SHOWN:]:
        say(f"  {line}")
    # A process that a signal ended has that as a negative number.
    return code if code >= 0 else 128 - code


def _wait(data_dir: Path, process: subprocess.Popen[bytes]) -> ServiceRecord | None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline_s:
        record = live_service(data_dir)
        if record is not None and record.pid == process.pid:
            return record
        time.sleep(POLL_S)
    return None


def _end(process: subprocess.Popen[bytes], settings: Settings) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        # It abandons itself, with all that it started, within this time.
        process.wait(settings.service.grace_s + STOP_TIMEOUT_S + 5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
        log.replace(log.with_name(f"{LOG_NAME}.1"))


def _lines(log: Path, began: int) -> list[str]:
    with log.open("rb") as file:
        file.seek(began)
        return file.read().decode(errors="replace").splitlines()
