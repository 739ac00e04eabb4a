"""Become another program that is killed when the process that started this one dies.

``python -IS tether.py PROGRAM ARGUMENTS`` runs by itself and imports nothing of Omium's. Ray
sometimes leaves Serve's proxy behind when its node is killed; it would keep the port, and answer
errors there.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that this process gets once its parent is gone. Kept by execve(2)."""

if __name__ == "__main__":
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:
            # It died before that was asked for.
            sys.exit(1)
    os.execv(sys.argv[1], sys.argv[1:])
