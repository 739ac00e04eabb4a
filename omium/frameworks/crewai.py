"""The adapter for CrewAI: a crew's tasks are its steps.

A crew is built from the definition, or by the user's own entrypoint, anew for each attempt;
finished tasks get their recorded outputs back and are not run again. This module imports
nothing of CrewAI, which takes seconds and reads its environment when imported.
"""

from __future__ import annotations

from pathlib import Path

from omium.frameworks.crewai_quiet import import_quietly
from omium.frameworks.protocol import Session
from omium.frameworks.threads import in_thread
from omium.types import Json


class CrewAIAdapter:
    """Runs agents of ``framework: crewai``.

    ``storage`` is a scratch folder for files of CrewAI's own, of which Omium needs none. It
    holds for the whole process: CrewAI keeps one for all its crews.
    """

    framework = "crewai"

    def __init__(self, storage: Path) -> None:
        self._storage = storage

    def preload(self) -> None:
        """Import CrewAI, without its telemetry and its signal handlers, and use it once: the
        first crew of a process loads half a second's worth more."""
        import_quietly(self._storage)
        from omium.frameworks.crewai_warm import warm_up

        warm_up()

    async def run(self, session: Session) -> Json:
        from omium.frameworks.crewai_crew import run_crew

        return await in_thread(run_crew, session)
