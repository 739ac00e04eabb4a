"""Where a command goes: to a service over HTTP, or to a data directory. Asks neither."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omium.cli.terminal import say
from omium.config import Settings, load_settings
from omium.errors import ConfigError, InputError, NotFound, StorageUnwritable
from omium.runtime.service_file import live_service

if TYPE_CHECKING:
    from omium.client import Client

ASK_RETRY_S = 5.0
"""For how long somebody at a terminal waits for a service that does not answer."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """``address`` is a service's, None for the data directory of ``settings``. ``options`` is
    what leads there again on a command line: empty, or options with a blank before them."""

    settings: Settings
    address: str | None
    options: str

    @property
    def service(self) -> str:
        """The address, where it is known that there is one."""
        assert self.address is not None
        return self.address


def place_of(data_dir: Path | None, address: str | None) -> Place:
    """The place that options and settings name: a data directory that was given wins over the
    setting ``address``. Raises ``ConfigError`` and ``InputError``."""
    if data_dir is not None and address is not None:
        raise InputError("--address names a service, --data-dir a directory: give one of them")
    settings = load_settings({"data_dir": data_dir, "address": address})
    if data_dir is not None:
        options = f" --data-dir {shlex.quote(str(data_dir))}"
        return Place(settings=settings, address=None, options=options)
    if settings.address is None:
        return Place(settings=settings, address=None, options="")
    if not settings.address.startswith(("http://", "https://")):
        raise ConfigError(f"address {settings.address!r}: expected http://HOST:PORT or https://…")
    options = f" --address {shlex.quote(address)}" if address is not None else ""
    return Place(settings=settings, address=settings.address, options=options)


def place_to_act(data_dir: Path | None, address: str | None) -> Place:
    """Like ``place_of``, for what needs the data directory to itself, or somebody at work there:
    where a service has it, that service. Says so."""
    place = place_of(data_dir, address)
    if place.address is not None:
        return place
    try:
        record = live_service(place.settings.data_dir)
    except StorageUnwritable:
        # Whoever works in the directory says better what is wrong with it.
        record = None
    if record is None:
        return place
    say(f"asking the service at {record.address}, which uses {place.settings.data_dir}")
    return Place(settings=place.settings, address=record.address, options=place.options)


def client_at(data_dir: Path | None, address: str | None) -> Client:
    """A client of the service that options and settings lead to, for what no data directory
    can do by itself. Asks it nothing yet. Raises ``NotFound`` where there is none."""
    # Behind an import that only those pay for who ask a service.
    from omium.client import Client

    place = place_to_act(data_dir, address)
    if place.address is None:
        raise NotFound(
            "service", str(place.settings.data_dir), "start one with `omium up`, or name --address"
        )
    return Client(place.address, retry_s=ASK_RETRY_S)
