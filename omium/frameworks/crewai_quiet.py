"""Keeps CrewAI to itself: no telemetry, no signal handlers, no files and no output elsewhere.

Owns what CrewAI is told through the environment and through its own modules, most of it
before it is imported. Names that begin with an underscore are CrewAI's private ones: the
version is pinned, and the tests watch what they are here for (see ADR 0005).
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

_SILENT = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_DISABLE_TRACKING": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "CREWAI_DISABLE_VERSION_CHECK": "true",
    # Keeps CrewAI from asking questions on a terminal.
    "CREWAI_TESTING": "true",
    "OTEL_SDK_DISABLED": "true",
}

_importing = threading.Lock()
_imported = False


def import_quietly(storage: Path) -> None:
    """Import CrewAI, with everything that it writes under ``storage``. May be repeated.

    The first call in a process takes seconds, and its ``storage`` is the one that counts.
    """
    global _imported
    with _importing:
        if _imported:
            return
        storage.mkdir(parents=True, exist_ok=True)
        # CrewAI has no other way to be told. It reads some of these at every kickoff.
        os.environ.update(
            _SILENT,
            CREWAI_STORAGE_DIR=str(storage),
            # Nothing is there. It would unpickle a file of that use from the working directory.
            CREWAI_TRAINED_AGENTS_FILE=str(storage / "never-trained.pkl"),
        )
        _keep_files_in(storage)
        with warnings.catch_warnings():
            # A lazily loaded package of CrewAI's has no place for its own submodule.
            warnings.filterwarnings("ignore", "Cannot set an attribute on 'crewai", ImportWarning)
            import_module("omium.frameworks.crewai_crew")
        import_module("omium.frameworks.crewai_coworkers").make_equal_calls_in_turn()
        import_module("omium.frameworks.crewai_rate").limit_without_timers()
        import_module("omium.frameworks.crewai_inside").wrap_kickoffs()
        # Says at every LLM call, as a warning, that it counts tokens roughly. Omium does not
        # count by it.
        logging.getLogger("crewai.llms.base_llm").addFilter(_is_no_token_estimate)
        _imported = True


def _keep_files_in(storage: Path) -> None:
    """Move what CrewAI puts into the home directory and the system's folder for temporary files:
    a key for log-in tokens, its settings, and lock files."""
    token_manager: Any = import_module("crewai_core.token_manager").TokenManager
    token_manager._get_secure_storage_path = staticmethod(lambda: storage)
    settings: Any = import_module("crewai_core.settings")
    settings.DEFAULT_CONFIG_PATH = storage / "settings.json"
    portalocker: Any = import_module("portalocker")

    @contextmanager
    def locked(name: str, *, timeout: float) -> Iterator[None]:
        digest = hashlib.sha256(name.encode()).hexdigest()[:32]
        with portalocker.Lock(storage / f"{digest}.lock", timeout=timeout):
            yield

    import_module("crewai_core.lock_store").set_lock_backend(locked)


def _is_no_token_estimate(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Using an approximate input token count")


def subdue() -> None:
    """Make the crews that run in the calling context leave output and retries to Omium.

    Needs CrewAI to be imported, and reaches the threads that CrewAI starts from this context.
    """
    context: Any = import_module("crewai.events.event_context")
    # After an error, CrewAI's event bus would print on standard output that events do not pair.
    context._event_context_config.set(
        context.EventContextConfig(
            mismatch_behavior=context.MismatchBehavior.SILENT,
            empty_pop_behavior=context.MismatchBehavior.SILENT,
        )
    )
    # CrewAI would send a call that was refused for its rate three times. It takes itself to be
    # within such a retry and does not begin another: recovery decides, once and knowingly.
    import_module("crewai.llms.retry")._active_llm_rate_limit_retry.set(True)
