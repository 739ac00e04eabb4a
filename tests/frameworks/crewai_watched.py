"""A crew in a process of its own, watched for what it does beside answering.

Prints one JSON object on the last line: what was written and where, who was connected to,
and what became of signal handlers and threads. Run by ``test_crewai_quiet``.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT

written: set[str] = set()
connected: set[str] = set()


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    match event, arguments:
        case "open", (str() as path, _, int() as flags) if flags & _WRITING:
            written.add(str(Path(path).absolute()))
        case "os.mkdir" | "sqlite3.connect", (str() as path, *_):
            written.add(str(Path(path).absolute()))
        case "socket.connect", (_, (host, *_)):
            connected.add(str(host))
        case "socket.getaddrinfo", (host, *_):
            connected.add(str(host))
        case _:
            pass


def handlers() -> dict[str, str]:
    return {str(one): repr(signal.getsignal(one)) for one in signal.valid_signals()}


async def _run(directory: Path) -> list[Any]:
    from omium.frameworks.crewai import CrewAIAdapter
    from omium.llm.providers import Provider
    from omium.testing.runtime import InProcessRuntime
    from omium.testing.script import Answer, ErrorAnswer
    from omium.testing.scripted import ScriptedProvider
    from tests.actors.stage import Stage
    from tests.frameworks.crewai_stage import call, crew, in_turn, task, workflow

    rules = in_turn(
        call("rate", principal=10, interest=1),
        Answer(content="uno"),
        Answer(content="dos"),
        Answer(error=ErrorAnswer(status=500, message="no")),
    )
    storage = directory / "crewai"
    # The import takes seconds, which are no part of what is waited for below.
    CrewAIAdapter(storage).preload()
    async with ScriptedProvider(rules) as provider:
        providers = {"scripted": Provider(name="scripted", base_url=provider.base_url)}
        async with InProcessRuntime(
            directory / "data",
            providers=providers,
            adapters={"crewai": lambda: CrewAIAdapter(storage)},
        ) as runtime:
            s = Stage(runtime=runtime, provider=provider)
            flow = workflow(crew(task("One."), task("Two."), tools=["rate"]))
            result = await s.result(await s.submit(flow))
            failed = await s.submit(flow)
            await s.until(failed, "execution.failed")
            return [result, provider.received]


def main(directory: Path) -> None:
    warnings.simplefilter("default")
    before = handlers()
    sys.addaudithook(watch)
    result, received = asyncio.run(_run(directory))
    # The interpreter tries the folder for temporary files out.
    inside = (directory / "crewai", directory / "data", directory / "tmp", Path(os.devnull))
    after = handlers()
    seen = {
        "result": result,
        "received": received,
        "outside": sorted(
            path for path in written if not any(Path(path).is_relative_to(one) for one in inside)
        ),
        "connected": sorted(connected),
        "handlers": sorted(name for name in before if before[name] != after[name]),
        "threads": sorted(one.name for one in threading.enumerate() if "otel" in one.name.lower()),
    }
    print(json.dumps(seen))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
