"""The record of the requests that reached a scripted provider, in memory and in a file.

The file outlives the process that wrote it: a line when a request arrives and one when it is
done with, each in a single append. It knows nothing of HTTP or of scripts.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from omium.errors import CorruptRecord, DeadlineExceeded, ProtocolError, StorageUnwritable
from omium.llm.wire import JsonObject, read_json

CALLS_KEPT_MAX = 10_000


@dataclass(frozen=True, kw_only=True)
class RecordedCall:
    """One request that reached the provider.

    ``digest`` is the SHA-256 of the request without its delivery options; ``rule`` the number
    of the rule that answered (None: the echo, or a refusal before any rule). ``sent`` says
    whether the whole answer was handed to the connection while it was open; None while the
    request is in progress. ``body`` is there in process, not in the log.
    """

    call: str
    time_ms: int
    digest: str
    model: str
    stream: bool
    scope: str | None
    rule: int | None = None
    status: int | None = None
    sent: bool | None = None
    body: JsonObject = field(default_factory=dict, repr=False, compare=False)


def read_calls(path: Path) -> list[RecordedCall]:
    """The calls in the log at ``path``, in the order of their arrival.

    A last line without its end is still being written and is left out. Raises CorruptRecord
    for any other line that is not the log's.
    """
    calls: dict[str, RecordedCall] = {}
    data = path.read_bytes()
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].splitlines(), start=1):
        try:
            entry = read_json(line)
            event = entry.pop("event")
            if event == "received":
                calls[entry["call"]] = RecordedCall(**entry)
            else:
                known = calls[entry["call"]]
                calls[known.call] = replace(
                    known, rule=entry["rule"], status=entry["status"], sent=entry["sent"]
                )
        except (ProtocolError, KeyError, TypeError) as error:
            raise CorruptRecord(f"{path}:{number}", str(error)) from error
    return list(calls.values())


class CallLog:
    """Collects calls; safe to use from several threads.

    ``path`` is the file that is appended to (None: memory only). Memory keeps the last
    ``kept_max`` calls, the file all of them.
    """

    def __init__(self, path: Path | None, *, kept_max: int = CALLS_KEPT_MAX) -> None:
        self.received = 0
        self._path = path
        self._file: int | None = None
        self._kept_max = kept_max
        self._calls: dict[str, RecordedCall] = {}
        self._answered = 0
        self._lock = threading.Condition()

    def open(self) -> None:
        """Opens the file for appending. Raises StorageUnwritable."""
        if self._path is None or self._file is not None:
            return
        try:
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise StorageUnwritable(str(self._path), error.strerror or "") from error

    def close(self) -> None:
        """Closes the file. May be repeated; what is recorded afterwards stays in memory."""
        with self._lock:
            file, self._file = self._file, None
            if file is not None:
                os.close(file)

    def calls(self) -> list[RecordedCall]:
        """The calls that memory keeps, oldest first."""
        with self._lock:
            return list(self._calls.values())

    def arrived(self, call: RecordedCall) -> None:
        """Records that ``call`` was received."""
        with self._lock:
            self.received += 1
            self._calls[call.call] = call
            while len(self._calls) > self._kept_max:
                del self._calls[next(iter(self._calls))]
            self._write("received", call)
            self._lock.notify_all()

    def done(self, call: RecordedCall) -> None:
        """Records how ``call`` ended."""
        with self._lock:
            if call.call in self._calls:
                self._calls[call.call] = call
            self._answered += 1
            self._write("answered", call)
            self._lock.notify_all()

    def wait(self, *, received: int, answered: int, timeout_s: float) -> None:
        """Blocks until so many calls were received and done with. Raises DeadlineExceeded."""
        with self._lock:
            reached = self._lock.wait_for(
                lambda: self.received >= received and self._answered >= answered, timeout_s
            )
        if not reached:
            raise DeadlineExceeded(f"{received} calls received and {answered} answered", timeout_s)

    def _write(self, event: str, call: RecordedCall) -> None:
        if self._file is None:
            return
        entry = {"event": event, **asdict(replace(call, body={}))}
        del entry["body"]
        # One write to a file opened for appending: lines of several writers never mix.
        os.write(self._file, json.dumps(entry).encode() + b"\n")
