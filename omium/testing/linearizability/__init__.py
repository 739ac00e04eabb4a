"""Whether what clients saw of a replicated object can be told as the story of a single one.

Record a history, name the object, check:

    recorder = Recorder()
    write = recorder.invoke("client-1", key="x", request=Write(value=1))
    write.ok(None)
    result = check(recorder.history(), Register())
    assert result.verdict == "ok", result

``history`` holds what was seen, ``models`` what is promised, ``checker`` compares the two, and
``witness`` says in text why they disagree. Nothing here runs a client or knows a network.
"""

from omium.testing.linearizability.checker import STEPS_MAX, Result, Verdict, check
from omium.testing.linearizability.history import Invocation, Operation, Recorder
from omium.testing.linearizability.models import (
    Append,
    CompareAndSet,
    Get,
    KeyValue,
    Model,
    Put,
    Read,
    Register,
    Write,
)
from omium.testing.linearizability.witness import Witness

__all__ = [
    "STEPS_MAX",
    "Append",
    "CompareAndSet",
    "Get",
    "Invocation",
    "KeyValue",
    "Model",
    "Operation",
    "Put",
    "Read",
    "Recorder",
    "Register",
    "Result",
    "Verdict",
    "Witness",
    "Write",
    "check",
]
