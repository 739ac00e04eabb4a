"""``/v1/code``: bundles of code that a tenant brings. What is in them is never sent out again."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request, Response

from omium.serve.api import schemas as s
from omium.serve.api.bundles import PREFIX, Uploaded
from omium.serve.api.context import api_of, caller_of
from omium.serve.api.problems import ProblemError
from omium.serve.api.route import ApiRoute, BoundedRequest, answer, media_type, needs
from omium.storage.code_bundle import received

router = APIRouter(prefix="/v1/code", tags=["code"], route_class=ApiRoute)

MEDIA_TYPES = ("application/zip", "application/octet-stream")
_CONTENT_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")

ContentDigest = Annotated[
    str | None,
    Header(
        pattern=rf"^{_CONTENT_DIGEST.pattern}$",
        description="SHA-256 of the body (RFC 9530); refused where it is another.",
        examples=["sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"],
    ),
]
CodePath = Annotated[
    str,
    Path(
        description="The digest of a bundle, in hex.",
        examples=["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
    ),
]


@router.post(
    "",
    status_code=201,
    response_model=s.CodeUploaded,
    responses={
        200: {"model": s.CodeUploaded, "description": "It was there before."},
        409: {},
        413: {},
        415: {},
    },
    openapi_extra=needs(
        "admin",
        requestBody={
            "required": True,
            "content": {
                kind: {"schema": {"type": "string", "format": "binary"}} for kind in MEDIA_TYPES
            },
        },
    ),
)
async def upload(request: Request, content_digest: ContentDigest = None) -> Response:
    """Upload code: a ZIP archive with the content of a folder below `0/`.

    Further folders, in the order in which modules are looked up, come below `1/` and so on. The
    digest in the answer names it, also where a workflow is registered: `?code=sha256:…`. The same
    files again change nothing. Only for tenants that the service allows it.
    """
    assert isinstance(request, BoundedRequest)
    api, caller = api_of(request), caller_of(request)
    api.bundles.check_allowed(caller.tenant)
    if media_type(request) not in MEDIA_TYPES:
        raise ProblemError("unsupported_media_type", f"send {' or '.join(MEDIA_TYPES)}")
    async with api.uploading:
        bundle = await asyncio.to_thread(received, await _body(request, content_digest))
        found = await api.bundles.put(caller.client, bundle)
    return answer(_shown(found), 201 if found.created else 200)


@router.get("", response_model=s.CodePage, openapi_extra=needs("read"))
async def list_code(request: Request, cursor: s.Cursor = None, limit: s.Limit = 50) -> Response:
    """List the bundles that the tenant has uploaded, by digest."""
    api, caller = api_of(request), caller_of(request)
    found = await api.bundles.page(caller.client, after=cursor or "", limit=limit + 1)
    page = found[:limit]
    following = page[-1].code.blob.digest.removeprefix(PREFIX) if len(found) > limit else None
    return answer({"code": [_shown(one) for one in page], "next_cursor": following})


@router.get(
    "/{code_sha256}",
    response_model=s.CodeUploaded,
    responses={404: {}},
    openapi_extra=needs("read"),
)
async def get_code(request: Request, code_sha256: CodePath) -> Response:
    """Look whether the tenant has uploaded a bundle."""
    found = await api_of(request).bundles.get(caller_of(request).client, PREFIX + code_sha256)
    return answer(_shown(found))


async def _body(request: BoundedRequest, content_digest: str | None) -> bytes:
    """The body, within its own limit. One that does not come holds up no others for long."""
    request.limit_name = "code_bytes_max"
    timeout_s = api_of(request).settings.upload_timeout_s
    try:
        async with asyncio.timeout(timeout_s):
            body = await request.body()
    except TimeoutError as error:
        raise ProblemError("malformed", f"the body took over {timeout_s:g} s") from error
    if content_digest is not None:
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        if content_digest != f"sha-256=:{digest}:":
            raise ProblemError("invalid", "header.Content-Digest: the body has another digest")
    return body


def _shown(found: Uploaded) -> dict[str, Any]:
    blob = found.code.blob
    return {
        "digest": blob.digest,
        "bytes": blob.size,
        "files": found.code.files,
        "uploaded_ms": found.uploaded_ms,
    }
