"""A team in a process of its own, watched for what it does beside answering.

Prints one JSON object on the last line. Run by ``test_autogen_quiet``.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

from tests.frameworks.crewai_watched import connected, handlers, watch, written


async def _run(directory: Path) -> list[Any]:
    from tests.frameworks.autogen_stage import (
        assistant,
        call,
        of_component,
        says,
        team,
        team_stage,
        workflow,
    )

    component = team(
        "RoundRobinGroupChat",
        assistant("writer", tools=["rate"], max_tool_iterations=2),
        assistant("critic"),
        max_turns=2,
    )
    rules = says(call("rate", principal=10, interest=1), "uno", "dos")
    async with team_stage(directory / "data", rules) as s:
        flow = workflow(of_component(component))
        result = await s.result(await s.submit(flow))
        return [result, s.provider.received]


def main(directory: Path) -> None:
    warnings.simplefilter("default")
    before = handlers()
    sys.addaudithook(watch)
    result, received = asyncio.run(_run(directory))
    inside = (directory / "data", Path(os.devnull))
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
