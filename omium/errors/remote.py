"""Errors of services that Omium asks and does not run.

Owns what the same call may get over later. Holds none of the service's own classes: they are
translated where they enter.
"""

from __future__ import annotations

from omium.errors.base import OmiumError


class ServiceError(OmiumError):
    """A remote service is at fault; the same call may work later."""

    kind = "service"
    exit_code = 6


class ModelUnreachable(ServiceError):
    """A model provider that does not answer: connection, time-out, or a 5xx."""

    kind = "model_unreachable"

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(model, reason)
        self.model, self.reason = model, reason

    def __str__(self) -> str:
        return f"model {self.model!r} is unreachable: {self.reason}"


class ModelRefused(ServiceError):
    """A model provider that answered and said no; ``status`` is its HTTP status."""

    kind = "model_refused"

    def __init__(self, model: str, status: int, reason: str) -> None:
        super().__init__(model, status, reason)
        self.model, self.status, self.reason = model, status, reason

    def __str__(self) -> str:
        return f"model {self.model!r} refused with HTTP {self.status}: {self.reason}"


class BlobStoreError(ServiceError):
    """The object store failed in a way that a retry may mend."""

    kind = "blob_store"
    exit_code = 7
