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
    └── Asked                     somebody was asked: the attempt ends until there is an answer

Errors keep their raw arguments and build their text in ``__str__``, so that they survive
pickling between processes. ``exit_code`` is what the command line exits with; the numbers
are stable and listed in ``docs/cli.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar


class OmiumError(Exception):
    """Base of all errors that Omium raises on purpose.

    ``kind`` is a stable snake_case name: the ``kind`` of a failure record, and the last part
    of a problem type over HTTP.
    """

    kind: ClassVar[str] = "internal"
    exit_code: ClassVar[int] = 1

    def __str__(self) -> str:
        return " ".join(str(part) for part in self.args) or self.kind


# ---------------------------------------------------------------- the user's input and code


class UserError(OmiumError):
    """The caller's input or code is at fault; repeating the call changes nothing."""

    kind = "user"
    exit_code = 2


class DefinitionError(UserError):
    """A workflow definition that cannot be accepted.

    ``problems`` holds one line for each mistake, each naming the place, what was found and
    what was expected.
    """

    kind = "definition"

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        super().__init__(source, tuple(problems))
        self.source = source
        self.problems = tuple(problems)

    def __str__(self) -> str:
        count = len(self.problems)
        head = f"{self.source}: {count} mistake{'s' if count != 1 else ''}"
        return "\n".join([head, *(f"  {line}" for line in self.problems)])


class InputError(UserError):
    """Inputs, flags or paths that do not fit what was asked for."""

    kind = "input"


class AnswerError(InputError):
    """An answer that does not fit what was asked by the call at journal index ``call``.

    ``problems`` names each place, what was found there and what was expected. Nothing changed.
    """

    kind = "answer"

    def __init__(self, call: int, problems: Sequence[str]) -> None:
        super().__init__(call, tuple(problems))
        self.call, self.problems = call, tuple(problems)

    def __str__(self) -> str:
        head = f"the answer to call {self.call} does not fit"
        return "\n".join([head, *(f"  {line}" for line in self.problems)])


class ConfigError(UserError):
    """A setting in the environment or in ``omium.toml`` that cannot be used."""

    kind = "config"


class NotFound(UserError):
    """No ``what`` is named ``name``; ``hint`` says what there is instead."""

    kind = "not_found"

    def __init__(self, what: str, name: str, hint: str = "") -> None:
        super().__init__(what, name, hint)
        self.what, self.name, self.hint = what, name, hint

    def __str__(self) -> str:
        return f"no {self.what} {self.name!r}" + (f"; {self.hint}" if self.hint else "")


class Conflict(UserError):
    """The thing exists, but its present state forbids what was asked."""

    kind = "conflict"


class RequestConflict(Conflict):
    """An idempotency key that was used before, for a request with another body."""

    kind = "idempotency_conflict"


class PermissionRefused(UserError):
    """An API key that is missing or wrong, or that may not do what was asked."""

    kind = "permission"


class EntrypointError(UserError):
    """The user's ``package.module:function`` could not be loaded or called."""

    kind = "entrypoint"
    exit_code = 3

    def __init__(self, entrypoint: str, reason: str) -> None:
        super().__init__(entrypoint, reason)
        self.entrypoint, self.reason = entrypoint, reason

    def __str__(self) -> str:
        return f"entrypoint {self.entrypoint!r}: {self.reason}"


class AgentError(UserError):
    """An agent's own code, or its framework, raised."""

    kind = "agent"
    exit_code = 3


class ToolError(UserError):
    """A tool raised, or could not be called."""

    kind = "tool"
    exit_code = 3

    def __init__(self, tool: str, reason: str) -> None:
        super().__init__(tool, reason)
        self.tool, self.reason = tool, reason

    def __str__(self) -> str:
        return f"tool {self.tool!r}: {self.reason}"


class Declined(UserError):
    """Whoever was asked gave no answer, and said so."""

    kind = "declined"
    exit_code = 3

    def __init__(self, question: str, reason: str) -> None:
        super().__init__(question, reason)
        self.question, self.reason = question, reason

    def __str__(self) -> str:
        return f"{self.question!r} was {self.reason}"


class OutputSchemaError(UserError):
    """What an agent answered does not satisfy its output schema.

    ``problems`` names each place, what was found there and what was expected.
    """

    kind = "output_schema"
    exit_code = 3

    def __init__(self, agent: str, problems: Sequence[str]) -> None:
        super().__init__(agent, tuple(problems))
        self.agent = agent
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return f"output of agent {self.agent!r} breaks its schema: " + "; ".join(self.problems)


# ---------------------------------------------------------------------- remote services


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


# ---------------------------------------------------------------------- the platform


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


class DeadlineExceeded(PlatformError):
    """A wait reached its limit of ``limit_s`` seconds."""

    kind = "deadline_exceeded"

    def __init__(self, what: str, limit_s: float) -> None:
        super().__init__(what, limit_s)
        self.what, self.limit_s = what, limit_s

    def __str__(self) -> str:
        return f"{self.what} took longer than {self.limit_s:g} s"


class ConsensusError(PlatformError):
    """A group of coordinators, or one member of it."""

    kind = "consensus"


class RequestDropped(ConsensusError):
    """A proposal or read that the group did not take; the same call may work later.

    ``what`` was dropped for ``reason``. Nothing of it will happen.
    """

    kind = "request_dropped"

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what, reason)
        self.what, self.reason = what, reason

    def __str__(self) -> str:
        return f"{self.what} dropped: {self.reason}"


class NotLeading(ConsensusError):
    """The member that was asked does not lead its group (any more). Ask the one that does.

    ``lead`` is that member as far as is known, 0 for none. Where ``unknown`` is true, what was
    asked for had been taken and may still happen.
    """

    kind = "not_leading"

    def __init__(self, lead: int, unknown: bool = False) -> None:
        super().__init__(lead, unknown)
        self.lead, self.unknown = lead, unknown

    def __str__(self) -> str:
        where = f"member {self.lead} does" if self.lead else "no member is known to"
        fate = "; what was asked for may have happened" if self.unknown else ""
        return f"this member does not lead the group, {where}{fate}"


class PeerUnknown(ConsensusError):
    """A message from a node that is not a member of the group."""

    kind = "peer_unknown"

    def __init__(self, node_id: int) -> None:
        super().__init__(node_id)
        self.node_id = node_id

    def __str__(self) -> str:
        return f"node {self.node_id!r} is not a member of the group"


class ConfChangeRefused(ConsensusError):
    """A change of a group's members that cannot be made.

    ``reason`` is one of the keys of ``REASONS``.
    """

    kind = "conf_change_refused"

    REASONS: ClassVar[dict[str, str]] = {
        "joint": "a simple change cannot be made in a joint configuration",
        "already_joint": "the configuration is joint already",
        "not_joint": "the configuration is not joint, so it cannot be left",
        "no_voters_to_join": "a configuration without voters cannot become joint",
        "no_voters_left": "no voter would be left",
        "too_many_voters": "more than one voter would change outside a joint configuration",
    }

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.REASONS.get(self.reason, self.reason)


class SnapshotUnavailable(ConsensusError):
    """There is no snapshot yet that could be sent; it is asked for again later."""

    kind = "snapshot_unavailable"


class InvariantBroken(ConsensusError):
    """A law that consensus rests on does not hold: a lost log, or a fault in Omium.

    The replica must stop. Going on could lose what was acknowledged.
    """

    kind = "invariant_broken"
    exit_code = 7


# ---------------------------------------------------------------------- executions


class ExecutionError(OmiumError):
    """An execution that has no result; ``execution_id`` names it."""

    kind = "execution"
    exit_code = 3

    def __init__(self, execution_id: str, reason: str) -> None:
        super().__init__(execution_id, reason)
        self.execution_id, self.reason = execution_id, reason

    def __str__(self) -> str:
        return f"{self.execution_id}: {self.reason}"


class ExecutionFailed(ExecutionError):
    """The execution failed; ``failure_kind`` is the ``kind`` of its failure record."""

    kind = "execution_failed"

    def __init__(self, execution_id: str, reason: str, failure_kind: str = "internal") -> None:
        super().__init__(execution_id, reason)
        self.args = (execution_id, reason, failure_kind)
        self.failure_kind = failure_kind


class ExecutionPaused(ExecutionError):
    """The execution waits for a decision that ``omium resume`` can give."""

    kind = "execution_paused"
    exit_code = 4


class ExecutionCancelled(ExecutionError):
    """The execution was cancelled."""

    kind = "execution_cancelled"
    exit_code = 5


# ---------------------------------------------------------------------- control flow


class Control(BaseException):
    """Control flow of the runtime. Derives from ``BaseException`` on purpose."""


class AttemptFenced(Control):
    """This attempt was superseded and must stop without another effect."""


class AttemptCancelled(Control):
    """The execution was cancelled; this attempt must stop."""


class OutcomeUnknown(Control):
    """A call was started by an earlier attempt, and how it ended is on no record.

    Raised where running the call again is not declared safe: the execution pauses for a
    decision instead.
    """

    def __init__(self, call: str, call_index: int) -> None:
        super().__init__(call, call_index)
        self.call, self.call_index = call, call_index

    def __str__(self) -> str:
        return f"the outcome of {self.call} (journal index {self.call_index}) is unknown"


class Asked(Control):
    """Somebody was asked, and this attempt ends until there is an answer.

    ``call`` is the journal index of what was asked; the execution goes on from there.
    """

    def __init__(self, call: int, text: str = "") -> None:
        super().__init__(call, text)
        self.call, self.text = call, text

    def __str__(self) -> str:
        return f"waits for an answer to {self.text!r} (journal index {self.call})"


def exit_code_of(kind: str) -> int:
    """Exit code that belongs to a failure ``kind``; 3 for kinds this version does not know."""
    error = _BY_KIND.get(kind)
    return error.exit_code if error is not None else 3


def rebuilt(kind: str, args: Sequence[Any]) -> OmiumError:
    """The error of ``kind`` made again from the arguments that another process sent."""
    error = _BY_KIND.get(kind, OmiumError)
    try:
        return error(*args)
    except TypeError:
        return OmiumError(*args)


def _walk(cls: type[OmiumError]) -> dict[str, type[OmiumError]]:
    found = {cls.kind: cls}
    for child in cls.__subclasses__():
        found |= _walk(child)
    return found


_BY_KIND = _walk(OmiumError)
