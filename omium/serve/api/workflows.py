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
from omium.serve.api.code import code_problems
from omium.serve.api.context import api_of, caller_of
from omium.serve.api.problems import FieldError, ProblemError, definition_errors
from omium.serve.api.route import ApiRoute, answer, media_type, needs, read_json
from omium.serve.api.settings import ApiSettings

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
        409: {},
        413: {},
        415: {},
    },
    openapi_extra=needs("admin", requestBody=_DEFINITION),
)
async def register(request: Request) -> Response:
    """Register a version of a workflow.

    A version never changes: the same definition again is answered with 200 and what is there,
    another one of the same name and version with 409. Send JSON, or the text of a definition
    as `application/yaml`; mistakes in a text carry their lines. Code may be named that the
    service allows: functions that modules in its folders themselves define.
    """
    api, caller = api_of(request), caller_of(request)
    workflow = await _definition(request)
    problems = await asyncio.to_thread(_unfit, workflow, api.settings)
    if problems:
        first, more = problems[0], len(problems) - 1
        detail = f"{first.field}: {first.message}" + (f", and {more} more" if more else "")
        raise ProblemError("definition", detail, errors=problems)
    found = await api.catalogue.register(caller.client, workflow)
    location = f"/v1/workflows/{workflow.name}/versions/{workflow.version}"
    headers = {"Location": quote(location)} if found.created else None
    return answer(_version(found), 201 if found.created else 200, headers)


@router.post(
    "/validate",
    response_model=s.Validation,
    responses={413: {}, 415: {}},
    openapi_extra=needs("read", requestBody=_ANYTHING),
)
async def validate(request: Request) -> Response:
    """Say what is wrong with a definition, and store nothing."""
    api = api_of(request)
    try:
        workflow = await _definition(request)
    except DefinitionError as error:
        problems = definition_errors(error)
    else:
        problems = await asyncio.to_thread(_unfit, workflow, api.settings)
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


def _unfit(workflow: Workflow, settings: ApiSettings) -> list[FieldError]:
    """Why a valid workflow cannot run here."""
    found = code_problems(workflow, settings.import_paths, settings.modules)
    try:
        check_workflow(workflow, settings, None)
    except (ConfigError, InputError) as error:
        found.append(FieldError(field="", message=str(error)))
    return found


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
        "registered_ms": found.registered_ms,
        "definition": found.workflow.to_data(),
        "versions": [],
    }


def _info(index: WorkflowIndex) -> dict[str, Any]:
    return {
        "name": index.name,
        "description": index.description,
        "latest": index.latest.version,
        "versions": len(index.versions),
        "registered_ms": index.latest.registered_ms,
    }
