"""Where webhooks may go: no tenant reaches, through the service, what is not public.

A URL is checked when it is given, and the addresses that its name stands for when a message is
sent. Only ``https`` to public addresses is open to all; hosts that the operator lists may be
reached by ``http`` too, wherever they are. Pure: names are resolved elsewhere.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import SplitResult, urlsplit

from omium.errors import ConfigError, InputError

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

URL_CHARS_MAX = 2_000
ADDRESSES_MAX = 3
_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_PATH = re.compile(r"[!-~]*")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, kw_only=True)
class Target:
    """A URL taken apart. ``path`` holds the query, ``host`` is in lower case."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """What the ``Host`` header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = self.port == (443 if self.scheme == "https" else 80)
        return host if usual else f"{host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """What the operator lets tenants reach beside the public: names (``*.`` for all below one),
    and networks. Build it with ``allowed``."""

    names: frozenset[str] = frozenset()
    suffixes: tuple[str, ...] = ()
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()

    def name(self, host: str) -> bool:
        host = host.rstrip(".")
        return host in self.names or host.endswith(self.suffixes)

    def address(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


def allowed(hosts: Iterable[str]) -> Allowed:
    """Read the setting ``service.webhook_hosts``: host names, ``*.name``, IP addresses and
    networks such as ``10.0.0.0/8``. Raises ``ConfigError``."""
    names: set[str] = set()
    suffixes: list[str] = []
    networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
    for given in hosts:
        host = given.strip().lower()
        try:
            networks.append(ipaddress.ip_network(host))
            continue
        except ValueError:
            pass
        bare = host.removeprefix("*.")
        if _NAME.fullmatch(bare) is None:
            raise ConfigError(
                f"service.webhook_hosts: {given!r} is no host name, *.name, address or network"
            )
        if bare != host:
            suffixes.append(f".{bare.rstrip('.')}")
        else:
            names.add(bare.rstrip("."))
    return Allowed(names=frozenset(names), suffixes=tuple(suffixes), networks=tuple(networks))


def target(url: str, allow: Allowed) -> Target:
    """Take a URL apart. Raises ``InputError`` for one to which no message may ever go."""
    if len(url) > URL_CHARS_MAX:
        raise InputError(f"the URL is over {URL_CHARS_MAX} characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InputError(f"{url!r} is no URL: {error}") from error
    found = _target(url, parts, port)
    literal = _literal(found.host)
    listed = allow.name(found.host) or (literal is not None and allow.address(literal))
    if found.scheme == "http" and not listed:
        raise InputError(f"{url!r}: webhooks go to https:// only")
    local = found.host.rstrip(".") == "localhost" or found.host.rstrip(".").endswith(".localhost")
    if not listed and (local or (literal is not None and not is_public(literal))):
        raise InputError(f"{url!r}: {found.host} is no public address")
    return found


def _target(url: str, parts: SplitResult, port: int | None) -> Target:
    host = (parts.hostname or "").lower()
    if parts.scheme not in ("https", "http"):
        raise InputError(f"{url!r}: expected https://…")
    if not host or (_literal(host) is None and _NAME.fullmatch(host) is None):
        raise InputError(f"{url!r} names no host; write names beyond ASCII as xn--…")
    if parts.username is not None or parts.password is not None:
        raise InputError(f"a URL with credentials for {host}: messages are signed instead")
    if parts.fragment:
        raise InputError(f"{url!r}: a fragment is never sent")
    if port == 0:
        raise InputError(f"{url!r}: 0 is no port")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if _PATH.fullmatch(path) is None:
        raise InputError(f"{url!r}: write what is beyond printable ASCII as %XX")
    usual = 443 if parts.scheme == "https" else 80
    return Target(scheme=parts.scheme, host=host, port=port or usual, path=path)


def reachable(aim: Target, addresses: Sequence[str], allow: Allowed) -> list[str]:
    """The addresses to connect to, of those that the host's name stands for, in their order.

    All must be allowed, and what is returned is connected to: a name that means something else
    the next time it is asked gains nothing. Raises ``InputError``.
    """
    if not addresses:
        raise InputError(f"{aim.host} has no address")
    by_name = allow.name(aim.host)
    for text in addresses:
        address = _literal(text)
        if address is None or not (by_name or allow.address(address) or is_public(address)):
            raise InputError(f"{aim.host} is no public address")
        if aim.scheme == "http" and not (by_name or allow.address(address)):
            raise InputError(f"{aim.host}: webhooks go to https:// only")
    return list(dict.fromkeys(addresses))[:ADDRESSES_MAX]


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet's, and not a way around to another."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local:
            return False
    return address.is_global and not address.is_multicast


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
