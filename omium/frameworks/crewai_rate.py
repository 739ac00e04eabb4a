"""CrewAI's limit of calls a minute (``max_rpm``), without its timers.

CrewAI starts a timer thread for each limit and for each look at the object that has it, and
stops few of them. In a process that runs crew after crew they would pile up.
"""

from __future__ import annotations

import threading
import time

from crewai.utilities.rpm_controller import RPMController

MINUTE_S = 60.0
_lock = threading.Lock()


def limit_without_timers() -> None:
    """Let every limit in this process count by the clock. Calls that the journal answers count
    as well: CrewAI cannot tell them."""
    RPMController._reset_request_count = _begin_minute
    RPMController.check_or_wait = _check_or_wait


def _begin_minute(self: RPMController) -> None:
    self._current_rpm = 0
    # Past pydantic, which takes no new attributes.
    object.__setattr__(self, "_began_s", time.monotonic())


def _check_or_wait(self: RPMController) -> bool:
    """Count a call; sleep to the end of the minute when it has had all of its calls."""
    while self.max_rpm is not None:
        with _lock:
            left_s: float = getattr(self, "_began_s", 0.0) + MINUTE_S - time.monotonic()
            if left_s <= 0:
                _begin_minute(self)
            if self._current_rpm < self.max_rpm:
                self._current_rpm += 1
                break
        time.sleep(max(left_s, 0.0))
    return True
