"""Which service, and with which key: settings first, then what ``omium up`` has stored.

Owns ``credentials.json`` in the user's configuration folder: keys by address, readable by its
owner alone.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import platformdirs

from omium.config import load_settings
from omium.errors import ConfigError, StorageUnwritable
from omium.storage.private_file import write_private

FILE_NAME = "credentials.json"


def connection_of(address: str | None, api_key: str | None) -> tuple[str, str | None]:
    """The address and the key to use. Raises ``ConfigError`` where there is no address."""
    settings = load_settings()
    address = address or settings.address
    if not address:
        raise ConfigError("no service is named: set OMIUM_ADDRESS, or give its address")
    if not address.startswith(("http://", "https://")):
        raise ConfigError(f"address {address!r}: expected http://HOST:PORT or https://…")
    if api_key is None and settings.api_key is not None:
        api_key = settings.api_key.get_secret_value()
    return address, api_key or stored_key(address)


def credentials_path() -> Path:
    return platformdirs.user_config_path("omium") / FILE_NAME


def stored_key(address: str) -> str | None:
    """The key that is stored for an address. Raises ``ConfigError`` for a damaged file."""
    return _read().get(address.rstrip("/"))


def store_key(address: str, api_key: str) -> Path:
    """Store a key for an address, and return the file, which only its owner may read."""
    path = credentials_path()
    kept = {**_read(), address.rstrip("/"): api_key}
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StorageUnwritable(str(path), error.strerror or str(error)) from error
    write_private(path, msgspec.json.format(msgspec.json.encode(kept)))
    return path


def _read() -> dict[str, str]:
    path = credentials_path()
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
