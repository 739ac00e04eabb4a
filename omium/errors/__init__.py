"""Every error that Omium raises, in one tree that separates blame.

    OmiumError
    ├── UserError                 the caller's input or code; the same call fails again
    │   ├── DefinitionError       a workflow definition with one or more mistakes
    │   ├── InputError            inputs, a flag or a path that do not fit
    │   │   └── AnswerError       an answer that does not fit what was asked
    │   ├── ConfigError           a setting, in the environment or in omium.toml
    │   ├── NotFound              no such execution, checkpoint, model, …
    │   ├── Conflict              the thing exists but its state forbids the request
    │   │   └── RequestConflict   an idempotency key that was used for another request
    │   ├── PermissionRefused     an API key that is missing, wrong, or may not do this
    │   ├── EntrypointError       the user's module or function cannot be loaded
    │   ├── RequirementsError     what the user's code requires cannot be installed
    │   ├── AgentError            the user's agent code raised
    │   ├── ToolError             the user's tool raised
    │   ├── Declined              whoever was asked gave no answer, and said so
    │   └── OutputSchemaError     an agent's output breaks its schema
    ├── ServiceError              a remote service; the same call may work later
    │   ├── ModelUnreachable      no connection, a time-out, a 5xx
    │   ├── ModelRefused          the provider answered 4xx (a key, a model name, a request)
    │   └── BlobStoreError        the object store
    ├── PlatformError             Omium itself or the machine that it runs on
    │   ├── StorageFull           no space left
    │   ├── StorageUnwritable     a directory or file that cannot be written
    │   ├── DataDirectoryBusy     another runtime owns the data directory
    │   ├── CorruptRecord         a stored record whose checksum or shape is wrong
    │   ├── CorruptBlob           a stored blob whose checksum is wrong
    │   ├── StaleEpoch            an append of a superseded attempt: fenced
    │   ├── ProtocolError         a peer that speaks another protocol or lacks the secret
    │   ├── Unavailable           a part of the runtime is down for longer than the deadline
    │   │   └── NotShipped        committed, and not in the archive, which is to have it first
    │   ├── DeadlineExceeded      a wait that reached its limit
    │   └── ConsensusError        a group of coordinators
    │       ├── RequestDropped        a proposal or read that was not taken; try again
    │       ├── NotLeading            another member leads, or none yet; ask there
    │       ├── PeerUnknown           an answer of a node that is no member
    │       ├── ConfChangeRefused     a change of members that cannot be made
    │       ├── SnapshotUnavailable   no snapshot yet; asked for again
    │       └── InvariantBroken       a law of Raft does not hold: the replica must stop
    └── ExecutionError            an execution that ended, or stopped, without a result
        ├── ExecutionFailed
        ├── ExecutionPaused
        └── ExecutionCancelled

    Control (BaseException)       control flow that a user's ``except Exception`` must not swallow
    ├── AttemptFenced             a newer attempt owns the step: stop at once
    ├── AttemptCancelled          the execution was cancelled: stop at once
    ├── OutcomeUnknown            a call started earlier and nobody knows how it ended
    ├── Suspended                 a tool stopped to ask somebody, and starts over
    ├── Asked                     somebody was asked: the attempt ends until there is an answer
    └── HostLost                  a process that hosts a part of the agent died

Errors keep their raw arguments and build their text in ``__str__``, so that they survive
pickling between processes. ``exit_code`` is what the command line exits with; the numbers
are stable and listed in ``docs/cli.md``.

    base                                    the root
    user | remote | platform | execution    a room for each blame, and one for how one ended
    consensus                               the part of the platform that coordinators raise
    control                                 control flow
    by_kind                                 from the name of a kind back to its error

Everything is imported from here. An error that is not in the drawing is not there.
"""

from omium.errors.base import OmiumError
from omium.errors.by_kind import exit_code_of, kinds, rebuilt
from omium.errors.consensus import (
    ConfChangeRefused,
    ConsensusError,
    InvariantBroken,
    NotLeading,
    PeerUnknown,
    RequestDropped,
    SnapshotUnavailable,
)
from omium.errors.control import (
    Asked,
    AttemptCancelled,
    AttemptFenced,
    Control,
    HostLost,
    OutcomeUnknown,
    Suspended,
)
from omium.errors.execution import (
    ExecutionCancelled,
    ExecutionError,
    ExecutionFailed,
    ExecutionPaused,
)
from omium.errors.platform import (
    CorruptBlob,
    CorruptRecord,
    DataDirectoryBusy,
    DeadlineExceeded,
    NotShipped,
    PlatformError,
    ProtocolError,
    StaleEpoch,
    StorageFull,
    StorageUnwritable,
    Unavailable,
)
from omium.errors.remote import BlobStoreError, ModelRefused, ModelUnreachable, ServiceError
from omium.errors.user import (
    AgentError,
    AnswerError,
    ConfigError,
    Conflict,
    Declined,
    DefinitionError,
    EntrypointError,
    InputError,
    NotFound,
    OutputSchemaError,
    PermissionRefused,
    RequestConflict,
    RequirementsError,
    ToolError,
    UserError,
)

__all__ = [
    "AgentError",
    "AnswerError",
    "Asked",
    "AttemptCancelled",
    "AttemptFenced",
    "BlobStoreError",
    "ConfChangeRefused",
    "ConfigError",
    "Conflict",
    "ConsensusError",
    "Control",
    "CorruptBlob",
    "CorruptRecord",
    "DataDirectoryBusy",
    "DeadlineExceeded",
    "Declined",
    "DefinitionError",
    "EntrypointError",
    "ExecutionCancelled",
    "ExecutionError",
    "ExecutionFailed",
    "ExecutionPaused",
    "HostLost",
    "InputError",
    "InvariantBroken",
    "ModelRefused",
    "ModelUnreachable",
    "NotFound",
    "NotLeading",
    "NotShipped",
    "OmiumError",
    "OutcomeUnknown",
    "OutputSchemaError",
    "PeerUnknown",
    "PermissionRefused",
    "PlatformError",
    "ProtocolError",
    "RequestConflict",
    "RequestDropped",
    "RequirementsError",
    "ServiceError",
    "SnapshotUnavailable",
    "StaleEpoch",
    "StorageFull",
    "StorageUnwritable",
    "Suspended",
    "ToolError",
    "Unavailable",
    "UserError",
    "exit_code_of",
    "kinds",
    "rebuilt",
]
