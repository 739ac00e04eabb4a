"""A world in one thread: seeded, with faults, and the same twice.

``world`` owns time and processes, ``network`` what is between them, ``disk`` what outlives
them. The logic under test is plain callbacks: it gets messages and timers, and sends, writes
and sets timers through the three. Nothing here knows what that logic is, nor a real clock,
socket or file; all chance comes from the seed.
"""

from omium.testing.sim.disk import Disk, DiskFaults
from omium.testing.sim.network import Network, NetworkFaults
from omium.testing.sim.world import Process, Timer, World

__all__ = ["Disk", "DiskFaults", "Network", "NetworkFaults", "Process", "Timer", "World"]
