"""Sending one message: who is connected to, and under which name."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from omium.webhooks.post import Post
from omium.webhooks.targets import allowed
from tests.webhooks.receiver import HOST, receiving

NAME = "hooks.example.com"
NETWORK = allowed(["127.0.0.0/8"])


def certificate(directory: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts of a server that shows a certificate for ``name``, and of who believes it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = directory / "server.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cafile=str(file))


async def here(host: str, port: int) -> Sequence[str]:
    """A resolver to which every name is this machine."""
    assert port and host
    return [HOST]


@pytest.mark.parametrize("name, taken", [(NAME, True), ("other.example.com", False)])
async def test_the_certificate_must_be_the_names(tmp_path: Path, name: str, taken: bool) -> None:
    server, tls = certificate(tmp_path, name)
    asked: list[str | None] = []
    server.sni_callback = lambda _, told, __: asked.append(told)
    async with receiving(tls=server) as receiver:
        post = Post(NETWORK, resolve=here, tls=tls)
        answer = await post.send(f"https://{NAME}:{receiver.port}/a?b=c", {"x-y": "z"}, b"{}")
        await post.close()
    assert asked == [NAME]
    if not taken:
        assert answer.status is None and "CERTIFICATE_VERIFY_FAILED" in answer.error
        assert receiver.messages == []
        return
    (message,) = receiver.messages
    assert (answer.status, answer.error) == (204, "")
    assert message.headers["host"] == f"{NAME}:{receiver.port}"
    assert (message.path, message.headers["x-y"]) == ("/a?b=c", "z")


async def test_an_unknown_authority_is_not_believed(tmp_path: Path) -> None:
    server, _ = certificate(tmp_path, NAME)
    async with receiving(tls=server) as receiver:
        post = Post(NETWORK, resolve=here)
        answer = await post.send(f"https://{NAME}:{receiver.port}/", {}, b"{}")
        await post.close()
    assert answer.status is None and "CERTIFICATE_VERIFY_FAILED" in answer.error


async def test_a_name_that_turns_private_is_not_connected_to() -> None:
    async with receiving() as receiver:
        post = Post(allowed(()), resolve=here)
        answer = await post.send(f"https://{NAME}:{receiver.port}/", {}, b"{}")
        await post.close()
    assert answer.error == f"{NAME} is no public address"
    assert receiver.open_most == 0


async def test_another_address_is_tried_where_one_does_not_answer() -> None:
    async def both(_: str, __: int) -> Sequence[str]:
        return ["127.0.0.2", HOST]

    async with receiving() as receiver:
        post = Post(allowed([NAME]), resolve=both)
        answer = await post.send(f"http://{NAME}:{receiver.port}/", {}, b"{}")
        await post.close()
    assert answer.status == 204 and len(receiver.messages) == 1


async def test_a_name_that_nobody_knows_or_is_slow_to_be_found_is_an_error() -> None:
    async def unknown(_: str, __: int) -> Sequence[str]:
        raise OSError(-2, "Name or service not known")

    async def slow(_: str, __: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    for resolve, told in ((unknown, "Name or service not known"), (slow, "no answer within")):
        post = Post(NETWORK, resolve=resolve, timeout_s=0.1)
        answer = await post.send(f"https://{NAME}/", {}, b"{}")
        await post.close()
        assert answer.status is None and told in answer.error


async def test_a_receiver_may_ask_for_time() -> None:
    for header, expected_s in (("120", 120.0), ("soon", 0.0), ("²", 0.0), ("-1", 0.0)):
        answer = f"HTTP/1.1 503 No\r\nretry-after: {header}\r\ncontent-length: 0\r\n\r\n"
        async with receiving(answer.encode("latin-1")) as receiver:
            post = Post(NETWORK)
            told = await post.send(receiver.url, {}, b"{}")
            await post.close()
        assert (told.status, told.retry_after_s) == (503, expected_s)
