"""Where in a graph the calling code stands: names that a rerun, a resume and a fork agree on.

LangGraph names a running task by ids that are drawn anew when a run starts over. Here a task is
named by its superstep and its path in the graph, below the task that runs its graph:
``2/child/1`` is superstep 1 of the subgraph that task ``child`` of superstep 2 runs.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langgraph.config import get_config

NAMESPACE = "langgraph_checkpoint_ns"
"""Metadata of everything that runs inside a task: the task's own namespace."""

_START = "__start__"
_PULL = "__pregel_pull"


@dataclass(kw_only=True)
class Superstep:
    """A superstep under way in the graph ``ns``. ``nodes`` are those that began, ``running``
    the namespaces of the tasks that have not ended."""

    ns: str
    step: str
    nodes: list[str] = field(default_factory=list[str])
    running: set[str] = field(default_factory=set[str])


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task of a superstep; ``branch`` tells it from the others."""

    ns: str
    superstep: Superstep
    branch: str


class Places:
    """The tasks of one attempt. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tasks: dict[str, Task] = {}
        self._supersteps: dict[str, Superstep] = {}

    def begin(
        self, ns: str, node: str, number: int, path: Sequence[Any], parent: str | None
    ) -> Task | None:
        """Note that the task with namespace ``ns`` begins, in a graph that the task with
        namespace ``parent`` runs. None when it is known already, or none of the user's."""
        with self._lock:
            if ns in self._tasks or node == _START:
                return None
            graph = ns.rpartition("|")[0]
            caller = self._tasks.get(graph) if _is_call(path) else None
            superstep = caller.superstep if caller is not None else self._supersteps.get(graph)
            if superstep is None or superstep.step.rpartition("/")[2] != str(number):
                above = self._name_of(graph, parent)
                superstep = Superstep(ns=graph, step=f"{above}{number}")
                self._supersteps[graph] = superstep
            superstep.nodes.append(node)
            superstep.running.add(ns)
            task = Task(ns=ns, superstep=superstep, branch=branch_of(node, path))
            self._tasks[ns] = task
            return task

    def _name_of(self, graph: str, parent: str | None) -> str:
        """The name of the task that runs a graph, and a slash; empty for the root."""
        task = self._tasks.get(parent) if parent is not None else None
        if task is None:
            return ""
        # A second graph that the same task runs has its number behind the task's namespace.
        number = graph.removeprefix(task.ns) if graph.startswith(task.ns) else ""
        return f"{task.superstep.step}/{task.branch}{number.replace('|', '#')}/"

    def end(self, graph: str, task_id: str) -> Task | None:
        """Note that a task of the graph has ended. None when it had not begun here."""
        with self._lock:
            superstep = self._supersteps.get(graph)
            for ns in superstep.running if superstep is not None else ():
                if ns.endswith(f":{task_id}"):
                    self._supersteps[graph].running.discard(ns)
                    return self._tasks[ns]
            return None

    def running(self, graph: str, task_id: str) -> Task | None:
        """The task of the graph that is under way under that id."""
        with self._lock:
            superstep = self._supersteps.get(graph)
            found = superstep.running if superstep is not None else ()
            return next((self._tasks[ns] for ns in found if ns.endswith(f":{task_id}")), None)

    def end_superstep(self, graph: str) -> Superstep | None:
        """Note that the superstep of a graph that is under way has ended, with all in it."""
        with self._lock:
            ended = self._supersteps.pop(graph, None)
            for ns in [ns for ns in self._tasks if below(ns, graph)]:
                del self._tasks[ns]
            for ns in [ns for ns in self._supersteps if below(ns, graph)]:
                del self._supersteps[ns]
            return ended

    def here(self) -> tuple[str, str] | None:
        """(step, branch) of the calling code; None outside of a task."""
        try:
            metadata = get_config().get("metadata") or {}
        except RuntimeError:
            return None
        task = self._tasks.get(metadata.get(NAMESPACE, ""))
        return (task.superstep.step, task.branch) if task is not None else None


def below(ns: str, graph: str) -> bool:
    """Whether the namespace is of a task of ``graph``, or of something that one runs: after the
    graph's next checkpoint nobody will ask for it."""
    prefix = f"{graph}|" if graph else ""
    return ns.startswith(prefix) and ":" in ns[len(prefix) :].partition("|")[0]


def branch_of(node: str, path: Sequence[Any]) -> str:
    """The name of a task among those of its superstep.

    A node that was triggered by its edges has its own; what ``Send`` and ``@task`` start has
    its position as well.
    """
    if not path or path[0] == _PULL:
        return node
    parts = [str(part) for part in _flat(path[1:]) if not isinstance(part, bool)]
    return ".".join(
        (node, *(part for part in parts if part != _PULL and not part.startswith("__")))
    )


def _is_call(path: Sequence[Any]) -> bool:
    """Whether the path is of a ``@task`` that another task calls, in the same superstep."""
    return len(path) > 3 and path[-1] is True


def _flat(path: Sequence[Any]) -> list[Any]:
    flat: list[Any] = []
    for part in path:
        if isinstance(part, list | tuple):
            flat += _flat(part)
        else:
            flat.append(part)
    return flat


class TaskWatch(BaseCallbackHandler):
    """Tells of each task that begins, before any of its code runs. Raises what that raises."""

    run_inline = True
    raise_error = True

    def __init__(self, places: Places) -> None:
        self._places = places
        self._runs: dict[UUID, str] = {}

    @property
    def ignore_llm(self) -> bool:
        return True

    @property
    def ignore_chat_model(self) -> bool:
        return True

    def began(self, task: Task) -> None:
        """A task begins."""

    def on_chain_start(
        self,
        serialized: dict[str, Any],
        inputs: dict[str, Any],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        known = metadata or {}
        ns = known.get(NAMESPACE)
        if ns is None:
            return
        self._runs[run_id] = ns
        task = self._places.begin(
            ns,
            known["langgraph_node"],
            known["langgraph_step"],
            known["langgraph_path"],
            self._runs.get(parent_run_id) if parent_run_id is not None else None,
        )
        if task is not None:
            self.began(task)

    def on_chain_end(self, outputs: dict[str, Any], *, run_id: UUID, **_: Any) -> None:
        self._runs.pop(run_id, None)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        self._runs.pop(run_id, None)
