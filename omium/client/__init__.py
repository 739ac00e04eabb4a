"""A client of the HTTP API: ``Client`` for blocking code, ``AsyncClient`` for the rest.

Light to import: it knows HTTP and the shapes of answers, and nothing of Ray or the runtime.
"""

from omium.client.aio import AsyncClient, AsyncHandle
from omium.client.blocking import Client, Handle
from omium.client.shapes import (
    Agent,
    ApiKey,
    Checkpoint,
    CodeInfo,
    Delivery,
    Event,
    Execution,
    ExecutionInfo,
    Failure,
    Pause,
    PinnedCode,
    Webhook,
    WorkflowInfo,
    WorkflowVersion,
)

__all__ = [
    "Agent",
    "ApiKey",
    "AsyncClient",
    "AsyncHandle",
    "Checkpoint",
    "Client",
    "CodeInfo",
    "Delivery",
    "Event",
    "Execution",
    "ExecutionInfo",
    "Failure",
    "Handle",
    "Pause",
    "PinnedCode",
    "Webhook",
    "WorkflowInfo",
    "WorkflowVersion",
]
