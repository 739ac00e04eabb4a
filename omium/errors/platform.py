"""Errors of Omium itself, and of the machine that it runs on.

Owns what neither the caller nor a service has done: disks, stored records, peers, deadlines.
What a group of coordinators raises is in ``consensus``.
"""

from __future__ import annotations

from omium.errors.base import OmiumError


class PlatformError(OmiumError):
    """Omium, or the machine it runs on, is at fault."""

    kind = "platform"


class StorageFull(PlatformError):
    """No space is left where Omium keeps its data; nothing was half-written."""

    kind = "storage_full"
    exit_code = 7


class StorageUnwritable(PlatformError):
    """A directory or file that Omium must write and may not."""

    kind = "storage_unwritable"
    exit_code = 7

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"cannot write {self.path!r}: {self.reason}"


class DataDirectoryBusy(PlatformError):
    """Another runtime owns the data directory; one owner at a time."""

    kind = "data_directory_busy"
    exit_code = 8

    def __init__(self, path: str, owner: str) -> None:
        super().__init__(path, owner)
        self.path, self.owner = path, owner

    def __str__(self) -> str:
        return (
            f"data directory {self.path!r} is in use by {self.owner}; "
            "wait for it, or choose another with --data-dir"
        )


class CorruptRecord(PlatformError):
    """A stored record that is not what was written. It is named, never served."""

    kind = "corrupt_record"
    exit_code = 7

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(where, reason)
        self.where, self.reason = where, reason

    def __str__(self) -> str:
        return f"corrupt record {self.where}: {self.reason}"


class CorruptBlob(PlatformError):
    """A stored blob that is not what was written. It is named, never served."""

    kind = "corrupt_blob"
    exit_code = 7

    def __init__(self, digest: str, reason: str) -> None:
        super().__init__(digest, reason)
        self.digest, self.reason = digest, reason

    def __str__(self) -> str:
        return f"corrupt blob {self.digest}: {self.reason}"


class StaleEpoch(PlatformError):
    """An append by an attempt that a newer one has superseded."""

    kind = "stale_epoch"

    def __init__(self, execution_id: str, agent: str, epoch: int, current: int) -> None:
        super().__init__(execution_id, agent, epoch, current)
        self.execution_id, self.agent = execution_id, agent
        self.epoch, self.current = epoch, current

    def __str__(self) -> str:
        return (
            f"epoch {self.epoch} of agent {self.agent!r} in {self.execution_id} "
            f"is superseded by epoch {self.current}"
        )


class ProtocolError(PlatformError):
    """A peer that sent something no version of the protocol allows."""

    kind = "protocol"


class Unavailable(PlatformError):
    """A part of the runtime stayed away for longer than the deadline."""

    kind = "unavailable"


class NotShipped(Unavailable):
    """What was asked for is on the coordinators' disks and not in the archive, for ``reason``.

    It is not lost: asked for again, it is answered once it has been shipped.
    """

    kind = "not_shipped"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"committed, and not in the archive yet: {self.reason}; ask again"


class DeadlineExceeded(PlatformError):
    """A wait reached its limit of ``limit_s`` seconds."""

    kind = "deadline_exceeded"

    def __init__(self, what: str, limit_s: float) -> None:
        super().__init__(what, limit_s)
        self.what, self.limit_s = what, limit_s

    def __str__(self) -> str:
        return f"{self.what} took longer than {self.limit_s:g} s"
