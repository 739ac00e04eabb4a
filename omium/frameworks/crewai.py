"""The adapter for CrewAI: a crew's tasks are its steps.

A crew is built from the definition, or by the user's own entrypoint, anew for each attempt;
finished tasks get their recorded outputs back and are not run again. This module imports
nothing of CrewAI, which takes seconds and reads its environment when imported.
"""

from __future__ import annotations

import os
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from omium.frameworks.protocol import Session
from omium.frameworks.threads import in_thread
from omium.types import Json

_SILENT = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_DISABLE_TRACKING": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "CREWAI_DISABLE_VERSION_CHECK": "true",
    # Keeps CrewAI from asking questions on a terminal.
    "CREWAI_TESTING": "true",
    "OTEL_SDK_DISABLED": "true",
}


class CrewAIAdapter:
    """Runs agents of ``framework: crewai``. ``storage`` is a scratch folder for CrewAI's own
    files, of which Omium uses none."""

    framework = "crewai"

    def __init__(self, storage: Path | None = None) -> None:
        self._storage = storage

    def preload(self) -> None:
        """Import CrewAI, without telemetry and without its signal handlers."""
        storage = self._storage or Path(tempfile.gettempdir()) / f"omium-crewai-{os.getpid()}"
        os.environ.update(_SILENT)
        os.environ["CREWAI_STORAGE_DIR"] = str(storage)
        self._crews()

    async def run(self, session: Session) -> Json:
        return await in_thread(self._crews().run_crew, session)

    @staticmethod
    def _crews() -> Any:
        return import_module("omium.frameworks.crewai_crew")
