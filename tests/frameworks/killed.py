"""Marks of tests that kill a worker which lives in the test's own process.

A process that is killed takes its sockets with it. Here they stay behind, with clients that are
cycles: whether a client is collected before its socket is by chance, and so is in which test.
"""

from __future__ import annotations

import pytest

KILLED = [
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.usefixtures("collected"),
]
