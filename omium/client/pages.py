"""Lists that come in pages, read through to their end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from functools import cache
from typing import Any, Literal, TypeVar

import msgspec

from omium.client.transport import Transport

_T = TypeVar("_T")


async def listed(
    transport: Transport,
    item: type[_T],
    path: str,
    member: str,
    *,
    params: Mapping[str, Any] | None = None,
    by: Literal["cursor", "after"] = "cursor",
) -> AsyncGenerator[_T]:
    """Every item of the list at ``path``, whose pages have them under ``member``.

    ``by`` is the parameter that asks for the next page, given by the one before as ``next_…``;
    a value of its own in ``params`` says where to begin. Raises what the service refuses.
    """
    following = f"next_{by}"
    asked = dict(params or {})
    while True:
        page = await transport.ask(_page(item, member, following), "GET", path, params=asked)
        for one in getattr(page, member):
            yield one
        asked[by] = getattr(page, following)
        if asked[by] is None:
            return


@cache
def _page(item: type, member: str, following: str) -> type[Any]:
    items: Any = tuple[item, ...]
    return msgspec.defstruct("Page", [(member, items), (following, int | str | None)])
