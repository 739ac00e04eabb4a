"""Proxies between the seats of a group: a network partition in one process."""

from __future__ import annotations

from omium.actors.link import Address
from omium.testing.proxy import Proxy


class Proxies:
    """A proxy for every pair of seats, made when its way is first asked for."""

    def __init__(self) -> None:
        self._proxies: dict[tuple[int, int], Proxy] = {}

    def route(self, source: int, target: int, address: Address) -> Address:
        if (source, target) not in self._proxies:
            self._proxies[source, target] = Proxy(address)
        return self._proxies[source, target].address

    def isolate(self, seat: int) -> None:
        """Let nothing pass between a seat and all others."""
        for pair, proxy in self._proxies.items():
            if seat in pair:
                proxy.cut()

    def mend(self) -> None:
        for proxy in self._proxies.values():
            proxy.mend()

    async def close(self) -> None:
        self.mend()
        for proxy in self._proxies.values():
            await proxy.close()
