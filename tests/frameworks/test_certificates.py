"""Certificates are parsed once, for those clients that say nothing about them."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import certifi
import httpx
import openai
import pytest

from omium.frameworks import certificates
from omium.frameworks.certificates import share_certificates


@pytest.fixture(autouse=True)
def parsed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Which bundles are parsed. Clients share them for this test."""
    read: list[Any] = []
    make = ssl.create_default_context

    def count(*arguments: Any, **options: Any) -> ssl.SSLContext:
        read.append(options.get("cafile"))
        return make(*arguments, **options)

    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(ssl, "create_default_context", count)
    for transport in (httpx.HTTPTransport, httpx.AsyncHTTPTransport):
        monkeypatch.setattr(transport, "__init__", transport.__init__)
    certificates._context.cache_clear()
    share_certificates()
    yield read
    certificates._context.cache_clear()


def context_of(client: Any) -> ssl.SSLContext:
    return client._transport._pool._ssl_context


async def test_the_bundle_is_parsed_once(parsed: list[Any]) -> None:
    contexts: set[int] = set()
    for _ in range(3):
        async with (
            openai.AsyncOpenAI(base_url="http://127.0.0.1:1/v1", api_key="k"),
            httpx.AsyncClient() as client,
        ):
            contexts.add(id(context_of(client)))
        with httpx.Client() as blocking:
            contexts.add(id(context_of(blocking)))
            assert context_of(blocking).verify_mode is ssl.CERT_REQUIRED
            assert context_of(blocking).check_hostname
    assert len(parsed) == len(contexts) == 1


def test_who_says_something_about_certificates_gets_what_was_said(
    parsed: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with httpx.Client() as shared, httpx.Client(verify=False) as careless:
        assert context_of(careless) is not context_of(shared)
        assert context_of(careless).verify_mode is ssl.CERT_NONE
        own = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        with httpx.Client(verify=own) as client:
            assert context_of(client) is own
        # One that is told by the environment, and one that does not listen to it.
        bundle = tmp_path / "bundle.pem"
        bundle.write_bytes(Path(certifi.where()).read_bytes())
        monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
        with httpx.Client() as told, httpx.Client(trust_env=False) as deaf:
            assert context_of(told) is not context_of(shared)
            assert context_of(deaf) is not context_of(told)
        assert str(bundle) in parsed
    with httpx.HTTPTransport(http2=True) as transport:
        assert context_of(type("Client", (), {"_transport": transport})) is not context_of(told)
