"""The name of a blob: what a record holds in place of a value too large to carry."""

from __future__ import annotations

import msgspec


class BlobRef(msgspec.Struct, frozen=True, kw_only=True):
    """A content address.

    ``digest`` is ``sha256:<hex>`` of the uncompressed content, ``size`` its length in bytes.
    """

    digest: str
    size: int
