"""A content address for a definition."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from omium.types import Json


def digest_of(data: Mapping[str, Json]) -> str:
    """``sha256:<hex>`` of the compact UTF-8 JSON of ``data``.

    Keys are taken in their order, not sorted: the order of a schema's properties is the order
    in which a model under guided decoding writes them, so another order is another workflow.
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
