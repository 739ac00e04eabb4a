"""Signatures, against an independent computation and every way of tampering."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from omium.client.webhooks import verify
from omium.errors import InputError, PermissionRefused
from omium.webhooks.signing import secret_of, sign

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
SECRET, NEW = secret_of(KEY), secret_of(OTHER)
BODY = '{"type":"execution.completed","labels":{"name":"Ünï"}}'.encode()
AT_S = 1_700_000_000


def headers(*secrets: str) -> dict[str, str]:
    return sign("ex_1@9", AT_S, BODY, secrets or (SECRET,))


def test_a_signature_is_what_the_scheme_says() -> None:
    told = b"ex_1@9.1700000000." + BODY
    by_hand = base64.b64encode(hmac.new(KEY, told, hashlib.sha256).digest()).decode()
    assert headers() == {
        "webhook-id": "ex_1@9",
        "webhook-timestamp": "1700000000",
        "webhook-signature": f"v1,{by_hand}",
    }


def test_the_example_of_the_specification() -> None:
    # Standard Webhooks, "Signature scheme": secret, message and signature that its libraries test.
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    signed = sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body, [secret])
    assert signed["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert verify(body, signed, secret, now_s=1_614_265_330) == "msg_p5jXN8AQM9LWM0D4loKWxJek"


def test_the_receiver_may_know_the_old_secret_the_new_or_both() -> None:
    both = headers(NEW, SECRET)
    for known in (SECRET, NEW, [SECRET, NEW]):
        assert verify(BODY, both, known, now_s=AT_S) == "ex_1@9"
    assert verify(BODY, headers(NEW), [SECRET, NEW], now_s=AT_S) == "ex_1@9"
    with pytest.raises(PermissionRefused):
        verify(BODY, headers(NEW), SECRET, now_s=AT_S)


def test_names_of_headers_are_written_in_any_case() -> None:
    shouted = {name.title(): value for name, value in headers().items()}
    assert verify(BODY, shouted, SECRET, now_s=AT_S) == "ex_1@9"


@pytest.mark.parametrize("off_s, taken", [(0, True), (300, True), (-300, True), (301, False)])
def test_a_message_must_be_fresh(off_s: int, taken: bool) -> None:
    if taken:
        verify(BODY, headers(), SECRET, now_s=AT_S + off_s)
        return
    for now_s in (AT_S + off_s, AT_S - off_s):
        with pytest.raises(PermissionRefused, match="300 s"):
            verify(BODY, headers(), SECRET, now_s=now_s)


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook-id": "ex_1@8"},
        {"webhook-timestamp": "1700000001"},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": "²"},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1,ümlaut"},
        {"webhook-signature": headers()["webhook-signature"].replace("v1,", "v2,")},
    ],
)
def test_what_is_changed_on_the_way_is_refused(changed: dict[str, str]) -> None:
    with pytest.raises(PermissionRefused):
        verify(BODY, {**headers(), **changed}, SECRET, now_s=AT_S)


def test_another_body_and_missing_headers_are_refused() -> None:
    with pytest.raises(PermissionRefused):
        verify(BODY + b" ", headers(), SECRET, now_s=AT_S)
    for name in headers():
        with pytest.raises(PermissionRefused, match=name):
            verify(BODY, {k: v for k, v in headers().items() if k != name}, SECRET, now_s=AT_S)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_??", "whsec_c2hvcnQ=", "nonsense"])
def test_a_secret_that_is_none_is_not_told(secret: str) -> None:
    with pytest.raises(InputError) as raised:
        verify(BODY, headers(), secret, now_s=AT_S)
    assert secret == "" or secret == "whsec_" or secret not in str(raised.value)
