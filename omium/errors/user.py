"""Errors of whoever calls: the input, the code, the settings, the key.

Owns what the caller has to change before the same call can work. Nothing here is mended by
trying again, but for requirements, which a package index may have later.
"""

from __future__ import annotations

from collections.abc import Sequence

from omium.errors.base import OmiumError


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


class RequirementsError(UserError):
    """What a workflow requires cannot be installed. A retry may find an index that answers."""

    kind = "requirements"
    exit_code = 3

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"requirements: {self.reason}"


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
