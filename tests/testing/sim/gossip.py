"""A program for a world: enough chance and faults to tell two runs apart."""

from __future__ import annotations

from omium.testing.sim import Disk, DiskFaults, Network, NetworkFaults, World


def gossip(seed: int, *, drop: float = 0.1) -> World:
    """Three nodes that pass numbers on and write them down, while one or another crashes."""
    world = World(seed)
    network = Network(world, NetworkFaults(drop=drop, duplicate=0.1, reorder=0.2))
    random = world.random("gossip")
    names = ["a", "b", "c"]
    disks = {name: Disk(world.process(name), DiskFaults(fsync_fails=0.1)) for name in names}

    def hear(name: str, source: str, message: bytes) -> None:
        disks[name].append("log", message)
        disks[name].fsync("log", lambda _error: tell(name, message))

    def tell(name: str, message: bytes) -> None:
        target = random.choice([other for other in names if other != name])
        network.send(name, target, bytes([message[0] + 1 & 0xFF]))

    def disturb() -> None:
        process = world.processes[random.choice(names)]
        if process.running:
            process.crash()
            world.after(random.randint(1, 2_000), "repair", process.restart)
        world.after(5_000, "disturb", disturb)
        for name in names:
            if world.processes[name].running:
                tell(name, b"\0")

    for name in names:
        network.attach(world.processes[name], lambda s, m, name=name: hear(name, s, m))
    disturb()
    world.run(until_us=200_000)
    return world
