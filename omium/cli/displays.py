"""Showing an execution while it runs: as a picture that changes, as lines, as JSON, or not."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from omium.cli.progress import AgentProgress, Progress
from omium.cli.terminal import out_json, say
from omium.cli.wording import agent_of, counted, duration_text, line_of, tokens_text
from omium.execution.events import Created, Entry, to_json
from omium.types import AgentName, ExecutionId

REFRESHES_PER_S = 8
PIECES_CHARS_MAX = 160
"""Of an answer on its way, its end is shown."""

_PHASE_STYLES = {
    "waiting": "dim",
    "running": "cyan",
    "done": "green",
    "skipped": "dim",
    "failed": "red",
}
_PHASE_SIGNS = {"waiting": "·", "running": "▸", "done": "✓", "skipped": "-", "failed": "✗"}


class Display(Protocol):
    """What is told about an execution as it goes on."""

    def stage(self, text: str) -> None:
        """Something is being done before, or after, the execution itself."""
        ...

    def opened(self, execution_id: ExecutionId, past: Sequence[Entry]) -> None:
        """The execution exists; ``past`` is what its journal held before."""
        ...

    def entry(self, entry: Entry) -> None:
        """Its journal has grown by one entry."""
        ...

    def piece(self, agent: AgentName, text: str) -> None:
        """A piece of an answer that the agent is getting. The next entry supersedes it."""
        ...

    def close(self) -> None:
        """Nothing follows. May be called twice."""
        ...


class QuietDisplay:
    """Shows nothing."""

    def stage(self, text: str) -> None: ...

    def opened(self, execution_id: ExecutionId, past: Sequence[Entry]) -> None: ...

    def entry(self, entry: Entry) -> None: ...

    def piece(self, agent: AgentName, text: str) -> None: ...

    def close(self) -> None: ...


class PlainDisplay:
    """One line for each event, for logs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._created_ms = 0

    def stage(self, text: str) -> None:
        say(text, self._stream)

    def opened(self, execution_id: ExecutionId, past: Sequence[Entry]) -> None:
        say(f"execution {execution_id}", self._stream)
        if past:
            self._created_ms = past[0].at_ms
            say(f"it goes on after index {past[-1].index}", self._stream)

    def entry(self, entry: Entry) -> None:
        if isinstance(entry.event, Created):
            self._created_ms = entry.at_ms
        say(line_of(entry, self._created_ms), self._stream)

    def piece(self, agent: AgentName, text: str) -> None: ...

    def close(self) -> None: ...


class JsonDisplay:
    """One JSON line for each event on ``events``; stages as text on ``stages``, if any."""

    def __init__(self, events: TextIO, stages: TextIO | None) -> None:
        self._events = events
        self._stages = stages

    def stage(self, text: str) -> None:
        if self._stages is not None:
            say(text, self._stages)

    def opened(self, execution_id: ExecutionId, past: Sequence[Entry]) -> None: ...

    def entry(self, entry: Entry) -> None:
        out_json(to_json(entry), stream=self._events)
        self._events.flush()

    def piece(self, agent: AgentName, text: str) -> None: ...

    def close(self) -> None: ...


class LiveDisplay:
    """A picture in a terminal: the stage, then a line for each agent."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress()
        self._stage = "starting"
        self._pieces: dict[AgentName, str] = {}
        self._execution_id: ExecutionId | None = None
        self._since_s = time.monotonic()
        self._elapsed_s: float | None = None
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(
            get_renderable=self.picture,
            console=console,
            refresh_per_second=REFRESHES_PER_S,
            # What Ray prints goes elsewhere already.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def stage(self, text: str) -> None:
        self._stage = text

    def opened(self, execution_id: ExecutionId, past: Sequence[Entry]) -> None:
        self._execution_id = execution_id
        self._stage = ""
        self._since_s = time.monotonic()
        for entry in past:
            self._progress.note(entry)

    def entry(self, entry: Entry) -> None:
        self._progress.note(entry)
        self._pieces.pop(agent_of(entry.event), None)
        if self._progress.status not in ("queued", "running"):
            # What follows is the runtime's end, not the execution's.
            self._elapsed_s = time.monotonic() - self._since_s

    def piece(self, agent: AgentName, text: str) -> None:
        self._pieces[agent] = (self._pieces.get(agent, "") + text)[-PIECES_CHARS_MAX:]

    def close(self) -> None:
        self._stage = ""
        self._pieces.clear()
        self._live.stop()

    def picture(self) -> RenderableType:
        """What is shown now."""
        parts: list[RenderableType] = []
        progress = self._progress
        elapsed_s = time.monotonic() - self._since_s
        elapsed = duration_text(elapsed_s if self._elapsed_s is None else self._elapsed_s)
        if self._execution_id is not None:
            head = Text.assemble(
                (f"{progress.workflow} {progress.version}".strip(), "bold"),
                f"  {self._execution_id}  {progress.status}  {elapsed}  "
                f"{counted(len(progress.checkpoints), 'checkpoint')}",
            )
            parts += [head, _agents(progress)]
        for agent, text in list(self._pieces.items()):
            line = " ".join(text.split())
            parts.append(Text(f"  {agent}: … {line}", style="dim italic", overflow="ellipsis"))
        if self._stage:
            waiting = "" if self._elapsed_s is not None else f"  {elapsed}"
            self._spinner.update(text=f"{self._stage}{waiting}")
            parts.append(self._spinner)
        return Group(*parts)


def _agents(progress: Progress) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    for agent in list(progress.agents.values()):
        style = _PHASE_STYLES[agent.phase]
        grid.add_row(
            Text(f"  {_PHASE_SIGNS[agent.phase]} {agent.name}", style=style),
            Text(_phase(agent), style=style),
            Text(_step(agent)),
            Text(_used(agent), style="dim"),
        )
    return grid


def _phase(agent: AgentProgress) -> str:
    return agent.phase if agent.round == 1 else f"{agent.phase}, round {agent.round}"


def _step(agent: AgentProgress) -> str:
    if agent.phase == "running" and agent.step:
        return f"step {agent.step}"
    return counted(agent.steps, "step") if agent.steps else ""


def _used(agent: AgentProgress) -> str:
    parts: list[str] = []
    if agent.llm_calls:
        parts.append(counted(agent.llm_calls, "LLM call"))
    if agent.tool_calls:
        parts.append(counted(agent.tool_calls, "tool call"))
    if agent.prompt_tokens or agent.completion_tokens:
        parts.append(tokens_text(agent.prompt_tokens, agent.completion_tokens))
    return ", ".join(parts)


def display_for(*, as_json: bool, quiet: bool) -> Display:
    """The display that fits what was asked for and what the terminal can show."""
    if as_json:
        return JsonDisplay(sys.stdout, None if quiet else sys.stderr)
    if quiet:
        return QuietDisplay()
    if sys.stdout.isatty() and sys.stderr.isatty():
        return LiveDisplay(Console(file=sys.stderr))
    return PlainDisplay(sys.stderr)
