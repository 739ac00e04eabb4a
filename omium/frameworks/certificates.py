"""The certificates of HTTPS, parsed once in a process.

Each client of ``httpx`` parses the whole bundle of authorities, which takes some 25 ms of a
processor, though agents ask the gateway by plain HTTP; and agents make their clients anew in each
execution. Clients that are told nothing about certificates share what was parsed. Others are not
touched.
"""

from __future__ import annotations

import ssl
from functools import lru_cache, wraps
from typing import Any

import httpx

from omium.config import environment

CONTEXTS_MAX = 16
_SOURCES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def share_certificates() -> None:
    """Let every client that this process makes from now on share them. To be called once."""
    _wrap(httpx.HTTPTransport)
    _wrap(httpx.AsyncHTTPTransport)


@lru_cache(maxsize=CONTEXTS_MAX)
def _context(trust_env: bool, _http2: bool, *_sources: str | None) -> ssl.SSLContext:
    # Those with HTTP/2 and those without agree on their protocol in the context itself.
    return httpx.create_ssl_context(trust_env=trust_env)


def _wrap(transport: Any) -> None:
    original = transport.__init__

    @wraps(original)
    def init(
        self: Any,
        verify: Any = True,
        cert: Any = None,
        trust_env: bool = True,
        http1: bool = True,
        http2: bool = False,
        *more: Any,
        **options: Any,
    ) -> None:
        if verify is True and cert is None:
            verify = _context(trust_env, http2, *map(environment, _SOURCES))
        original(self, verify, cert, trust_env, http1, http2, *more, **options)

    transport.__init__ = init
