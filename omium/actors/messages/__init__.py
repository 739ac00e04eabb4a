"""What the parts of a runtime say to one another. Records only, a module for each topic.

    base, answers                          what they all are; answers to many of them
    attempts | calls | handoffs            worker and gateway, and the coordinator
    control | claims | reading | records   clients
    runtime                                who operates it
    views                                  an execution as it is shown

Every request may be sent twice, by a link that lost its connection before the answer came,
and must then have the effect of being sent once.

Everything is imported from here. Who reads a stream knows what is in ``Messages``, and nothing
else.
"""

from __future__ import annotations

from typing import TypeAlias

from omium.actors.messages.answers import Appended, Done, Refused
from omium.actors.messages.attempts import (
    AppendEvents,
    AttemptOver,
    Heartbeat,
    Lease,
    Shutdown,
    Stop,
    WorkerHello,
)
from omium.actors.messages.base import Message
from omium.actors.messages.calls import BeginCall, CallBegun, Delta, Deltas, EndCall, GatewayHello
from omium.actors.messages.claims import ClaimRequest, FindRequest
from omium.actors.messages.control import Cancel, Fork, Interrupt, Resume, Signal, Submit
from omium.actors.messages.handoffs import HandoffView, Offer
from omium.actors.messages.reading import (
    CountExecutions,
    Entries,
    ExecutionCounts,
    ExecutionRows,
    GetExecution,
    ListExecutions,
    ReadJournal,
)
from omium.actors.messages.records import (
    GetRecords,
    PutRecord,
    RecordPut,
    Records,
    Redeliver,
    TestWebhook,
)
from omium.actors.messages.runtime import (
    ArchiveView,
    BeginDrain,
    Drain,
    Drained,
    GetRuntime,
    RuntimeView,
    StopRuntime,
    WorkerView,
)
from omium.actors.messages.views import AgentView, ExecutionView, QuestionView

Messages: TypeAlias = (
    WorkerHello
    | Heartbeat
    | AppendEvents
    | BeginCall
    | EndCall
    | AttemptOver
    | GatewayHello
    | Deltas
    | Submit
    | Fork
    | Cancel
    | Interrupt
    | Signal
    | Resume
    | FindRequest
    | ClaimRequest
    | GetExecution
    | ListExecutions
    | CountExecutions
    | ReadJournal
    | PutRecord
    | GetRecords
    | Redeliver
    | TestWebhook
    | GetRuntime
    | BeginDrain
    | Drain
    | StopRuntime
    | Lease
    | Stop
    | Shutdown
    | Entries
    | Done
    | Drained
    | Appended
    | RecordPut
    | Records
    | ExecutionRows
    | ExecutionCounts
    | Refused
    | CallBegun
    | ExecutionView
    | RuntimeView
)

__all__ = [
    "AgentView",
    "AppendEvents",
    "Appended",
    "ArchiveView",
    "AttemptOver",
    "BeginCall",
    "BeginDrain",
    "CallBegun",
    "Cancel",
    "ClaimRequest",
    "CountExecutions",
    "Delta",
    "Deltas",
    "Done",
    "Drain",
    "Drained",
    "EndCall",
    "Entries",
    "ExecutionCounts",
    "ExecutionRows",
    "ExecutionView",
    "FindRequest",
    "Fork",
    "GatewayHello",
    "GetExecution",
    "GetRecords",
    "GetRuntime",
    "HandoffView",
    "Heartbeat",
    "Interrupt",
    "Lease",
    "ListExecutions",
    "Message",
    "Messages",
    "Offer",
    "PutRecord",
    "QuestionView",
    "ReadJournal",
    "RecordPut",
    "Records",
    "Redeliver",
    "Refused",
    "Resume",
    "RuntimeView",
    "Shutdown",
    "Signal",
    "Stop",
    "StopRuntime",
    "Submit",
    "TestWebhook",
    "WorkerHello",
    "WorkerView",
]
