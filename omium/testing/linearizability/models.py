"""What a single object would have answered: small pure models.

A model is the sequential specification of one key of a store. States and requests are immutable
and hashable: the search keeps them in tables. A model decides nothing about time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

StateT = TypeVar("StateT", bound=Hashable)
RequestT = TypeVar("RequestT", bound=Hashable)
OutputT = TypeVar("OutputT")


class Model(ABC, Generic[StateT, RequestT, OutputT]):
    """An object that serves one request at a time.

    ``initial`` and ``apply`` say what it does. The other methods are hints that make a search
    short; what they answer by default is right for every model.
    """

    initial: StateT
    """The state before the first request."""

    @abstractmethod
    def apply(self, state: StateT, request: RequestT, /) -> tuple[StateT, OutputT]:
        """The state after ``request`` and the answer to it. Total: every request has an answer."""

    def only_reads(self, request: RequestT, output: OutputT, /) -> bool:
        """Whether ``request``, where ``output`` is its answer, changes no state at all."""
        return False

    def may_answer(
        self, state: StateT, request: RequestT, output: OutputT, others: Collection[RequestT], /
    ) -> bool:
        """Whether some of ``others``, in some order, can lead from ``state`` to that answer.

        It is asked of requests that only read. True is always right.
        """
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """Answers the value."""

    def __str__(self) -> str:
        return "read"


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """Replaces the value; answers None."""

    value: Hashable

    def __str__(self) -> str:
        return f"write {self.value!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareAndSet:
    """Replaces ``old`` by ``new``; answers whether ``old`` was the value."""

    old: Hashable
    new: Hashable

    def __str__(self) -> str:
        return f"cas {self.old!r}→{self.new!r}"


RegisterRequest: TypeAlias = Read | Write | CompareAndSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Register(Model[Hashable, RegisterRequest, Hashable]):
    """One value that can be read, written, and written on condition."""

    initial: Hashable = None

    def apply(self, state: Hashable, request: RegisterRequest, /) -> tuple[Hashable, Hashable]:
        match request:
            case Read():
                return state, state
            case Write():
                return request.value, None
            case CompareAndSet():
                return (request.new, True) if state == request.old else (state, False)

    def only_reads(self, request: RegisterRequest, output: Hashable, /) -> bool:
        match request:
            case Read():
                return True
            case Write():
                return False
            case CompareAndSet():
                return output is False or request.old == request.new

    def may_answer(
        self,
        state: Hashable,
        request: RegisterRequest,
        output: Hashable,
        others: Collection[RegisterRequest],
        /,
    ) -> bool:
        if not isinstance(request, Read) or output == state:
            return True
        return any(
            (isinstance(other, Write) and other.value == output)
            or (isinstance(other, CompareAndSet) and other.new == output)
            for other in others
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Get:
    """Answers the text; the empty one where nothing was put."""

    def __str__(self) -> str:
        return "get"


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """Replaces the text; answers None."""

    value: str

    def __str__(self) -> str:
        return f"put {self.value!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """Adds to the end of the text; answers None."""

    value: str

    def __str__(self) -> str:
        return f"append {self.value!r}"


KeyValueRequest: TypeAlias = Get | Put | Append


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyValue(Model[str, KeyValueRequest, "str | None"]):
    """One key of a store of texts."""

    initial: str = ""

    def apply(self, state: str, request: KeyValueRequest, /) -> tuple[str, str | None]:
        match request:
            case Get():
                return state, state
            case Put():
                return request.value, None
            case Append():
                return state + request.value, None

    def only_reads(self, request: KeyValueRequest, output: str | None, /) -> bool:
        return isinstance(request, Get)

    def may_answer(
        self,
        state: str,
        request: KeyValueRequest,
        output: str | None,
        others: Collection[KeyValueRequest],
        /,
    ) -> bool:
        if output is None or output == state:
            return True
        return any(
            (isinstance(other, Put) and output.startswith(other.value))
            or (isinstance(other, Append) and output.startswith(state + other.value))
            for other in others
        )
