"""``/v1/workflows``: versions of workflows, registered, validated and looked up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from fastapi import APIRouter, Path, Request, Response

from omium.definitions import Workflow, parse_workflow, workflow_from
from omium.errors import ConfigError, DefinitionError, InputError, NotFound
from omium.serve.api import schemas as s
from omium.serve.api.catalogue import Registered, WorkflowIndex
from omium.serve.api.code import code_problems, service_code
from omium.serve.api.context import Api, Caller, api_of, caller_of
from omium.serve.api.problems import FieldError, ProblemError, definition_errors
from omium.serve.api.route import ApiRoute, answer, media_type, needs, read_json
from omium.serve.api.settings import ApiSettings
from omium.serve.shipping import unpacked
from omium.storage.code_bundle import Bundle

router = APIRouter(prefix="/v1/workflows", tags=["workflows"], route_class=ApiRoute)

SOURCE = "definition"
YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml")
_T = TypeVar("_T")

_EXAMPLE = {
    "name": "greeting",
    "version": "1",
    "agents": [{"name": "greeter", "framework": "python", "entrypoint": "greetings:greet"}],
}


def _body(definition: dict[str, Any], text: dict[str, Any]) -> dict[str, Any]:
    """The body of a request with a definition: the schemas of it and of its text."""
    wrapped = {
        "type": "object",
        "properties": {"definition": definition},
        "required": ["definition"],
        "additionalProperties": False,
    }
    return {
        "required": True,
        "content": {
            "application/json": {"schema": wrapped, "example": {"definition": _EXAMPLE}},
            "application/yaml": {"schema": text, "example": _EXAMPLE},
        },
    }


_REF = {"$ref": "#/components/schemas/Definition"}
_DEFINITION = _body(_REF, _REF)
_ANYTHING = _body(
    {"type": "object", "description": "A definition, with mistakes or not."},
    {"description": "The text of a definition, with mistakes or not."},
)

NamePath = Annotated[str, Path(description="The name of a workflow.", examples=["loan-apr"])]
VersionPath = Annotated[str, Path(description="A version.", examples=["1"])]


@router.post(
    "",
    status_code=201,
    response_model=s.WorkflowVersion,
    responses={
        200: {"model": s.WorkflowVersion, "description": "It was registered before."},
        404: {},
        409: {"model": s.VersionConflict},
        413: {},
        415: {},
    },
    openapi_extra=needs("admin", requestBody=_DEFINITION),
)
async def register(request: Request, code: s.CodeQuery = None) -> Response:
    """Register a version of a workflow.

    A version never changes: the same definition and code again are answered with 200 and what is
    there, others of the same name and version with 409, whose `changes` say what differs. Send
    JSON, or the text of a definition as `application/yaml`; mistakes in a text carry their lines.
    Code may be named that the service allows: functions that modules in its folders themselves
    define. What is in those folders now is the code of this version for ever; or it is what was
    uploaded, with `?code=sha256:…`.
    """
    api, caller = api_of(request), caller_of(request)
    workflow = await _definition(request)
    async with api.packing:
        bundle = await _uploaded(api, caller, code)
        _refuse(await asyncio.to_thread(_unfit, workflow, api.settings, bundle))
        if bundle is None:
            bundle = await asyncio.to_thread(service_code, workflow, api.settings)
        found = await api.catalogue.register(
            caller.client, workflow, bundle, uploaded=code is not None
        )
    location = f"/v1/workflows/{workflow.name}/versions/{workflow.version}"
    headers = {"Location": quote(location)} if found.created else None
    return answer(_version(found), 201 if found.created else 200, headers)


@router.post(
    "/validate",
    response_model=s.Validation,
    responses={404: {}, 413: {}, 415: {}},
    openapi_extra=needs("read", requestBody=_ANYTHING),
)
async def validate(request: Request, code: s.CodeQuery = None) -> Response:
    """Say what is wrong with a definition, and store nothing."""
    api, caller = api_of(request), caller_of(request)
    try:
        workflow = await _definition(request)
    except DefinitionError as error:
        problems = definition_errors(error)
    else:
        async with api.packing:
            bundle = await _uploaded(api, caller, code)
            problems = await asyncio.to_thread(_unfit, workflow, api.settings, bundle)
    told = [problem.model_dump(exclude_none=True) for problem in problems]
    return answer({"valid": not problems, "problems": told})


@router.get("", response_model=s.WorkflowPage, openapi_extra=needs("read"))
async def list_workflows(
    request: Request, cursor: s.Cursor = None, limit: s.Limit = 50
) -> Response:
    """List workflows by name, each with its latest version."""
    api, caller = api_of(request), caller_of(request)
    found = await api.catalogue.page(caller.client, after=cursor or "", limit=limit + 1)
    page = found[:limit]
    more = len(found) > limit
    return answer(
        {
            "workflows": [_info(index) for index in page],
            "next_cursor": page[-1].name if more else None,
        }
    )


@router.get(
    "/{name}",
    response_model=s.WorkflowVersion,
    responses={404: {}},
    openapi_extra=needs("read"),
)
async def get_workflow(request: Request, name: NamePath) -> Response:
    """Get the latest version of a workflow, and the list of all."""
    api, caller = api_of(request), caller_of(request)
    index = await api.catalogue.index(caller.client, name)
    found = await api.catalogue.get(caller.client, name, index.latest.version)
    return answer({**_version(found), "versions": index.versions})


@router.get(
    "/{name}/versions/{version:path}",
    response_model=s.WorkflowVersion,
    responses={404: {}},
    openapi_extra=needs("read"),
)
async def get_version(request: Request, name: NamePath, version: VersionPath) -> Response:
    """Get a version of a workflow."""
    api, caller = api_of(request), caller_of(request)
    return answer(_version(await api.catalogue.get(caller.client, name, version)))


# ------------------------------------------------------------------ definitions


async def _definition(request: Request) -> Workflow:
    """The workflow in the body. Raises ``DefinitionError`` with every mistake."""
    api = api_of(request)
    body = await request.body()
    frameworks = api.settings.frameworks
    match media_type(request):
        case "application/json":
            value = read_json(body)
            if not isinstance(value, dict) or set(value) != {"definition"}:
                raise ProblemError("invalid", "send an object with one member, 'definition'")
            definition = value["definition"]
            if not isinstance(definition, dict):
                raise ProblemError(
                    "invalid",
                    "definition: found no object",
                    errors=[FieldError(field="definition", message="found no object")],
                )
            return await _apart(lambda: workflow_from(definition, SOURCE, frameworks=frameworks))
        case kind if kind in YAML_TYPES:
            try:
                text = body.decode("utf-8")
            except UnicodeDecodeError as error:
                line = body.count(b"\n", 0, error.start) + 1
                raise DefinitionError(
                    SOURCE, [f"line {line}: found text that is not UTF-8, expected UTF-8"]
                ) from error
            return await _apart(lambda: parse_workflow(text, SOURCE, frameworks=frameworks))
        case _:
            raise ProblemError(
                "unsupported_media_type", "send application/json, or application/yaml"
            )


async def _apart(work: Callable[[], _T]) -> _T:
    # A large text takes a second, in which all others would wait.
    return await asyncio.to_thread(work)


async def _uploaded(api: Api, caller: Caller, code: str | None) -> Bundle | None:
    """The code that the caller has uploaded under that name, if any is named. Raises ``NotFound``,
    and a ``forbidden`` problem."""
    if code is None:
        return None
    api.bundles.check_allowed(caller.tenant)
    there = (await api.bundles.get(caller.client, code)).code
    return Bundle(data=await caller.client.code(there), files=there.files, folders=())


def _unfit(workflow: Workflow, settings: ApiSettings, code: Bundle | None) -> list[FieldError]:
    """Why a valid workflow cannot run here, on the service's code or on ``code``."""
    if code is None:
        found = code_problems(workflow, settings.import_paths, settings.modules)
    else:
        with unpacked(code.data) as folders:
            found = code_problems(workflow, folders, settings.modules, uploaded=True)
    try:
        check_workflow(workflow, settings, None)
    except (ConfigError, InputError) as error:
        found.append(FieldError(field="", message=str(error)))
    return found


def _refuse(problems: list[FieldError]) -> None:
    """Raise a ``definition`` problem, where there are any."""
    if problems:
        first, more = problems[0], len(problems) - 1
        detail = f"{first.field}: {first.message}" + (f", and {more} more" if more else "")
        raise ProblemError("definition", detail, errors=problems)


def check_workflow(workflow: Workflow, settings: ApiSettings, model: str | None) -> None:
    """Raise ``ConfigError`` or ``InputError`` where a workflow cannot run here."""
    try:
        settings.check(workflow, model)
    except NotFound as error:
        # No such model is a mistake of the request, not a thing that was asked for.
        raise InputError(str(error)) from error


# ------------------------------------------------------------------ answers


def _version(found: Registered) -> dict[str, Any]:
    return {
        "name": found.workflow.name,
        "version": found.workflow.version,
        "digest": found.digest,
        "code": _code(found),
        "registered_ms": found.registered_ms,
        "definition": found.workflow.to_data(),
        "versions": [],
    }


def _code(found: Registered) -> dict[str, Any] | None:
    code = found.code
    if code is None:
        return None
    told = {"digest": code.blob.digest, "bytes": code.blob.size, "files": code.files}
    return {**told, "uploaded": found.uploaded}


def _info(index: WorkflowIndex) -> dict[str, Any]:
    return {
        "name": index.name,
        "description": index.description,
        "latest": index.latest.version,
        "versions": len(index.versions),
        "registered_ms": index.latest.registered_ms,
    }
