"""Signatures of webhooks: the symmetric scheme of the Standard Webhooks specification.

The signature is the base64 of the HMAC-SHA-256 of ``id.timestamp.body``. The header holds one for
each secret, as ``v1,<signature>`` with spaces between, so that secrets can be changed while
messages are on their way. Pure: the time is handed in.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable, Mapping

from omium.errors import InputError, PermissionRefused

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"

SECRET_PREFIX = "whsec_"
SECRET_BYTES = 32
SECRET_BYTES_MIN, SECRET_BYTES_MAX = 24, 64
"""Bounds of the specification."""

TOLERANCE_S = 300
VERSION = "v1"
SIGNATURES_MAX = 16


def secret_of(key: bytes) -> str:
    """A secret as it is shown: ``whsec_`` and the base64 of its bytes."""
    return SECRET_PREFIX + base64.b64encode(key).decode()


def key_of(secret: str) -> bytes:
    """The bytes of a secret. Raises ``InputError``, which does not tell the secret."""
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not SECRET_BYTES_MIN <= len(key) <= SECRET_BYTES_MAX:
        raise InputError(
            f"a webhook's secret is {SECRET_PREFIX!r} and the base64 of {SECRET_BYTES_MIN} to "
            f"{SECRET_BYTES_MAX} bytes"
        )
    return key


def sign(message_id: str, timestamp_s: int, body: bytes, secrets: Iterable[str]) -> dict[str, str]:
    """The three headers of a message, signed with each of ``secrets``."""
    signatures = [
        f"{VERSION},{_signature(message_id, str(timestamp_s), body, secret)}" for secret in secrets
    ]
    return {
        ID_HEADER: message_id,
        TIMESTAMP_HEADER: str(timestamp_s),
        SIGNATURE_HEADER: " ".join(signatures),
    }


def verify_at(
    body: bytes,
    headers: Mapping[str, str],
    secrets: Iterable[str],
    *,
    now_s: float,
    tolerance_s: float = TOLERANCE_S,
) -> str:
    """Check the signature of a message and return its id, which is the same in every try.

    ``body`` are the bytes as they came. One signature that fits one of ``secrets`` is enough.
    Raises ``PermissionRefused`` when none does, or when the message is more than ``tolerance_s``
    seconds away from ``now_s``.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, timestamp = given[ID_HEADER], given[TIMESTAMP_HEADER]
        offered = given[SIGNATURE_HEADER].split()
    except KeyError as error:
        raise PermissionRefused(f"the message has no header {error.args[0]!r}") from None
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):
        raise PermissionRefused(f"{TIMESTAMP_HEADER} is no number of seconds")
    if abs(now_s - int(timestamp)) > tolerance_s:
        raise PermissionRefused(f"the message is over {tolerance_s:g} s away from this clock")
    expected = [_signature(message_id, timestamp, body, secret).encode() for secret in secrets]
    for signature in offered[:SIGNATURES_MAX]:
        version, _, value = signature.partition(",")
        # All are compared: time does not tell which one was nearly right.
        fits = [hmac.compare_digest(value.encode(), known) for known in expected]
        if version == VERSION and any(fits):
            return message_id
    raise PermissionRefused("no signature of the message fits: it is not from who it should be")


def _signature(message_id: str, timestamp: str, body: bytes, secret: str) -> str:
    signed = b".".join((message_id.encode(), timestamp.encode(), body))
    return base64.b64encode(hmac.digest(key_of(secret), signed, "sha256")).decode()
