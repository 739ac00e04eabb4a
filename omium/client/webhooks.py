"""For those who receive webhooks: is this message from the service, and is it fresh?

from omium.client.webhooks import verify

message_id = verify(request.body, request.headers, secret)
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from omium.webhooks.signing import TOLERANCE_S, verify_at


def verify(
    body: bytes,
    headers: Mapping[str, str],
    secret: str | Iterable[str],
    *,
    tolerance_s: float = TOLERANCE_S,
    now_s: float | None = None,
) -> str:
    """Check a webhook's signature and return the message's id.

    The id is the same in every try of one message: whoever has seen it may ignore the message.
    ``body`` are the bytes as they came, before anything parsed them. ``secret`` is the webhook's
    ``whsec_…``, or several while it is being changed. Raises ``PermissionRefused`` for a message
    that is not the service's or older than ``tolerance_s`` seconds, and ``InputError`` for a
    secret that is none.
    """
    secrets = (secret,) if isinstance(secret, str) else tuple(secret)
    now_s = time.time() if now_s is None else now_s
    return verify_at(body, headers, secrets, now_s=now_s, tolerance_s=tolerance_s)
