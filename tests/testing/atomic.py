"""Histories of clients of an object that is one: each request takes effect at an instant."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from random import Random
from typing import Any

from omium.testing.linearizability import Invocation, Model, Operation, Recorder


def history_of(
    model: Model[Any, Any, Any],
    draw_request: Callable[[Random], Hashable],
    *,
    seed: int,
    operations: int,
    clients: int = 5,
    lost: float = 0.0,
    key: Hashable = "k",
) -> list[Operation[Any, Any]]:
    """What ``clients`` saw of ``model`` in an interleaving that ``seed`` fixes.

    ``lost`` is the part of the requests whose answer, or which, gets lost; the client goes on
    under a new name, as in Jepsen.
    """
    random = Random(seed)
    recorder: Recorder[Any, Any] = Recorder()
    state = model.initial
    idle = list(range(clients))
    sent: dict[int, tuple[Invocation[Any, Any], Hashable]] = {}
    served: dict[int, tuple[Invocation[Any, Any], Any]] = {}
    invoked = 0
    while invoked < operations or sent or served:
        client = random.choice([*idle, *sent, *served])
        if client in sent:
            invocation, request = sent.pop(client)
            if random.random() < lost / 2:
                invocation.info()
                idle.append(max([*idle, *sent, *served, client]) + 1)
                continue
            state, answer = model.apply(state, request)
            served[client] = invocation, answer
        elif client in served:
            invocation, answer = served.pop(client)
            if random.random() < lost / 2:
                invocation.info()
                idle.append(max([*idle, *sent, *served, client]) + 1)
            else:
                invocation.ok(answer)
                idle.append(client)
        elif invoked < operations:
            request = draw_request(random)
            idle.remove(client)
            sent[client] = recorder.invoke(client, key=key, request=request), request
            invoked += 1
    return recorder.history()
