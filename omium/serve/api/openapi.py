"""The OpenAPI document: what FastAPI gathers, and what it cannot know.

Errors are problems in every operation, keys are declared once, and the definition of a
workflow is described by its own model.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from omium.definitions import Workflow
from omium.serve.api.problems import KINDS, MEDIA_TYPE, TYPE_PREFIX, Problem
from omium.serve.api.route import NO_SCOPE, SCOPE_FIELD, SECURITY_SCHEME

DESCRIPTION = """\
Runs multi-agent workflows durably. Every error is an `application/problem+json` (RFC 9457)
whose `type` never changes. A POST with an `Idempotency-Key` has the effect of one request,
however often it is sent. What belongs to another tenant is not there.
"""

_REF = "#/components/schemas/{model}"
_ANY: dict[int, str] = {401: "No valid API key.", 422: "The request has mistakes."}
_SCOPED = {403: "The key lacks the scope."}
_ALWAYS = {500: "An error of the service.", 503: "A part of the service is down. Try again."}
_TEXTS = {
    400: "The request cannot be read.",
    404: "There is no such thing, or it is another tenant's.",
    409: "Its present state forbids this, or the idempotency key was used before.",
    413: "Over a limit, which is named.",
    415: "The body is of another type.",
    429: "Too many open streams and waits.",
    502: "The model does not answer, or its provider refused.",
}


def describe(app: FastAPI) -> dict[str, Any]:
    """The document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=DESCRIPTION,
            routes=app.routes,
            tags=app.openapi_tags,
        )
        _complete(document)
        app.openapi_schema = document
    return app.openapi_schema


def _complete(document: dict[str, Any]) -> None:
    components = document.setdefault("components", {})
    schemas: dict[str, Any] = components.setdefault("schemas", {})
    _add(schemas, "Problem", Problem.model_json_schema(ref_template=_REF))
    _add(schemas, "Definition", Workflow.model_json_schema(ref_template=_REF))
    kinds = [TYPE_PREFIX + kind for kind in KINDS]
    schemas["Problem"]["properties"]["type"]["examples"] = kinds
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["securitySchemes"] = {
        SECURITY_SCHEME: {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "omk_…",
            "description": "An API key with a scope: read, run or admin.",
        }
    }
    specific = {_REF.format(model=kind.__name__) for kind in Problem.__subclasses__()}
    for operations in document["paths"].values():
        for method, operation in operations.items():
            _errors(operation, method, specific)


def _errors(operation: dict[str, Any], method: str, specific: Collection[str]) -> None:
    """Declare the errors of an operation, those with members of their own by ``specific``
    schemas."""
    responses: dict[str, Any] = operation["responses"]
    wanted = dict(_ALWAYS)
    scope = operation[SCOPE_FIELD]
    if scope != NO_SCOPE:
        wanted |= _ANY | _SCOPED
    if method == "post":
        wanted |= {status: _TEXTS[status] for status in (400, 413)}
    for status, text in wanted.items():
        responses.setdefault(str(status), {"description": text})
    if scope == NO_SCOPE:
        responses.pop("422", None)
    for status, response in responses.items():
        if int(status) < 400:
            continue
        response["description"] = wanted.get(int(status)) or _TEXTS[int(status)]
        declared = response.get("content", {}).get("application/json", {}).get("schema", {})
        schema = {"$ref": _REF.format(model="Problem")}
        if declared.get("$ref") in specific:
            schema = declared
        response["content"] = {MEDIA_TYPE: {"schema": schema}}
        if status == "401":
            text = {"schema": {"type": "string"}, "description": "`Bearer`, and what is wrong."}
            response["headers"] = {"WWW-Authenticate": text}
    operation["responses"] = dict(sorted(responses.items()))
    if scope != NO_SCOPE:
        said = operation.get("description", "")
        operation["description"] = f"{said}\n\nNeeds the scope `{scope}`.".strip()


def _add(schemas: dict[str, Any], name: str, schema: dict[str, Any]) -> None:
    for inner, definition in schema.pop("$defs", {}).items():
        schemas.setdefault(inner, definition)
    schemas[name] = schema
