"""``keys``: the API keys of a service, made, listed and revoked.

Over HTTP with an admin key, for that key's tenant; or, on the service's own machine, for any
tenant through the data directory, which is how a tenant gets its first key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
import typer

from omium.cli.options import Address, AsJson, DataDir
from omium.cli.places import client_at, place_of
from omium.cli.terminal import out, out_json, say, table
from omium.cli.wording import time_text
from omium.errors import InputError, NotFound, Unavailable
from omium.runtime.endpoint import live_endpoint
from omium.types import TenantId

if TYPE_CHECKING:
    # Each brings half a second of imports, for these few commands.
    from omium.client import ApiKey
    from omium.serve.api import Keys

SCOPES = ("read", "run", "admin")
KEYS_MAX = 1_000
_T = TypeVar("_T")

KeyName = Annotated[str, typer.Argument(metavar="NAME", help="What it is for.", show_default=False)]
KeyId = Annotated[str, typer.Argument(metavar="ID", help="The key's id.", show_default=False)]
Tenant = Annotated[
    str | None,
    typer.Option(
        "--tenant",
        metavar="TENANT",
        help="Of another tenant, on the service's own machine, through its data directory.",
        show_default=False,
    ),
]


def create_key(
    name: KeyName,
    scopes: Annotated[
        list[str],
        typer.Option(
            "--scope",
            metavar="SCOPE",
            help="What it may do: read, run (and read), admin (all). May be repeated.",
            autocompletion=lambda incomplete: [s for s in SCOPES if s.startswith(incomplete)],
            show_default=False,
        ),
    ],
    tenant: Tenant = None,
    address: Address = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make an API key and print it. It is shown this once.

    Examples:

      omium keys create ci --scope run
      omium keys create first --scope admin --tenant acme
    """
    for scope in scopes:
        if scope not in SCOPES:
            raise InputError(f"--scope {scope!r}: expected one of {', '.join(SCOPES)}")
    wanted: Any = scopes
    if tenant is not None:
        _check_tenant(tenant)

        async def make(keys: Keys) -> ApiKey:
            made = await keys.create(TenantId(tenant), name, wanted)
            return _shown(made.key, made.secret)

        key = _here(data_dir, address, make)
    else:
        with client_at(data_dir, address) as client:
            key = client.create_key(name, wanted)
    if key.secret is None:
        raise Unavailable(
            f"key {key.id} was made, but the answer that had it was lost: revoke it, make another"
        )
    if as_json:
        out_json(msgspec.to_builtins(key))
        return
    out(key.secret)
    say(f"key {key.id} may {', '.join(key.scopes)}; keep it, it is not shown again")


def list_keys(
    tenant: Tenant = None,
    address: Address = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List API keys by id, revoked ones too, without their secrets.

    Examples:

      omium keys list
      omium keys list --tenant acme --json
    """
    if tenant is not None:
        _check_tenant(tenant)

        async def page(keys: Keys) -> list[ApiKey]:
            # All there may be.
            found, _ = await keys.page(TenantId(tenant), limit=KEYS_MAX)
            return [_shown(key) for key in found]

        keys = _here(data_dir, address, page)
    else:
        with client_at(data_dir, address) as client:
            keys = list(client.keys())
    if as_json:
        out_json([_public(key) for key in keys])
    elif not keys:
        out("no keys")
    else:
        table(
            ("KEY", "SCOPES", "CREATED", "REVOKED", "NAME"),
            [
                (
                    key.id,
                    ",".join(key.scopes),
                    time_text(key.created_ms),
                    time_text(key.revoked_ms) if key.revoked_ms is not None else "",
                    key.name,
                )
                for key in keys
            ],
        )


def revoke_key(
    key_id: KeyId,
    tenant: Tenant = None,
    address: Address = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Revoke an API key: after a second at most it opens nothing.

    Examples:

      omium keys revoke 4fj2x7qa
    """
    if tenant is not None:
        _check_tenant(tenant)

        async def revoke(keys: Keys) -> ApiKey:
            return _shown(await keys.revoke(TenantId(tenant), key_id))

        key = _here(data_dir, address, revoke)
    else:
        with client_at(data_dir, address) as client:
            key = client.revoke_key(key_id)
    if as_json:
        out_json(_public(key))
    else:
        out(f"{key.id} is revoked")


def _here(data_dir: Path | None, address: str | None, work: Callable[[Keys], Awaitable[_T]]) -> _T:
    """``work`` with the keys of all tenants, through the runtime that owns the data directory."""
    from omium.cli.linking import linked
    from omium.serve.api import Keys
    from omium.serve.composition import pepper_of

    if address is not None:
        raise InputError("--tenant goes through the data directory: give no --address with it")
    settings = place_of(data_dir, None).settings
    endpoint = live_endpoint(settings.data_dir)
    if endpoint is None:
        raise NotFound("service", str(settings.data_dir), "start one with `omium up`")

    async def ask() -> _T:
        async with linked(endpoint) as client:
            return await work(Keys(client, pepper_of(settings.data_dir)))

    return asyncio.run(ask())


def _check_tenant(tenant: str) -> None:
    if not tenant or tenant.startswith("_") or not tenant.isascii() or not tenant.isprintable():
        raise InputError(
            f"--tenant {tenant!r}: expected printable ASCII that does not begin with '_'"
        )


def _shown(key: Any, secret: str | None = None) -> ApiKey:
    from omium.client import ApiKey

    return ApiKey(
        id=key.id,
        name=key.name,
        scopes=key.scopes,
        created_ms=key.created_ms,
        revoked_ms=key.revoked_ms,
        secret=secret,
    )


def _public(key: ApiKey) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(key)
    del shown["secret"]
    return shown
