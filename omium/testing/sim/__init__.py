"""A world in one thread: seeded, with faults, and the same twice.

``world`` owns time and processes, ``network`` what is between them, ``disk`` what outlives
them. The logic under test is plain callbacks: it gets messages and timers, and sends, writes
and sets timers through the three. Nothing there knows what that logic is, nor a real clock,
socket or file; all chance comes from the seed.

``run`` puts a group of coordinators into such a world and judges it:

    run                                    one seed, from its start to the verdict
    nemesis | registers, workers           what goes wrong; clients, and what they must have seen
    group, node                            members that come and go; one member in its process
    laws | log_store | caller              what must hold; its disk; a client's way to the group
    attempts, flows                        what a worker appends, of which workflows
    service, executions                    what the members agree on
    journals                               what journals must tell, at each append; its laws:
        owners, rounds                         who may act; what is done once, and how often again
        handed, voted, received                handoffs, the votes about them, what got to whom
    disk, network, world

What drives a member is ``omium.consensus.Member``, as in the runtime.
"""

from omium.testing.sim.disk import Disk, DiskFaults
from omium.testing.sim.network import Network, NetworkFaults
from omium.testing.sim.run import Report, SimulationFailed, simulate
from omium.testing.sim.world import Process, Timer, World

__all__ = [
    "Disk",
    "DiskFaults",
    "Network",
    "NetworkFaults",
    "Process",
    "Report",
    "SimulationFailed",
    "Timer",
    "World",
    "simulate",
]
