"""``workflows``: versions of workflows at a service, registered with the user's own code, listed
and shown. Over HTTP, for the tenant of the key.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from omium.cli.options import Address, AsJson, DataDir, WorkflowFile
from omium.cli.places import client_at
from omium.cli.terminal import out, out_json, say, table
from omium.cli.wording import counted, time_text
from omium.config import Settings, load_settings
from omium.errors import InputError

if TYPE_CHECKING:
    # Half a second of imports, for these few commands.
    from omium.client import PinnedCode, WorkflowVersion
    from omium.storage.code_bundle import Bundle

WorkflowName = Annotated[
    str,
    typer.Argument(metavar="NAME[@VERSION]", help="The workflow's name.", show_default=False),
]


def register_workflow(
    workflow: WorkflowFile,
    code: Annotated[
        Path | None,
        typer.Option(
            "--code",
            metavar="FOLDER",
            help="Upload the code in this folder. Default: the folders in which the workflow's "
            "modules are found, as with [bold]omium run[/].",
            exists=True,
            file_okay=False,
            show_default=False,
        ),
    ] = None,
    service_code: Annotated[
        bool,
        typer.Option(
            "--service-code", help="Upload nothing: run on what the service's folders hold."
        ),
    ] = False,
    address: Address = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Register a version of a workflow with a service, with the code beside it.

    The code is packed and uploaded, and this version runs on it for ever. The service must allow
    that ([bold]service.upload_tenants[/]); with [bold]--service-code[/] the version is pinned to
    what is in the service's own folders now. The same again changes nothing. Another definition
    or other code under the same version is refused, and what differs is told: give it another
    version. Takes an admin key.

    Examples:

      omium workflows register workflow.yaml --address https://omium.example.com
      omium workflows register workflow.yaml --code .
      omium workflows register workflow.yaml --service-code --json
    """
    if code is not None and service_code:
        raise InputError("--code uploads, --service-code does not: give one of them")
    # Its mistakes are told here, with their lines, before anything is sent.
    settings = load_settings({"data_dir": data_dir})
    bundle = None if service_code else _bundle(workflow, code, settings)
    with client_at(data_dir, address) as client:
        uploaded = client.upload_code(bundle) if bundle is not None else None
        made = client.register(workflow, code=uploaded)
    if as_json:
        out_json(msgspec.to_builtins(made))
        return
    out(f"{made.name}@{made.version}")
    say(f"registered {time_text(made.registered_ms)}; code: {_code(made.code)}")


def list_workflows(
    address: Address = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """List the workflows of a service by name, each with its latest version.

    Examples:

      omium workflows list
      omium workflows list --json
    """
    with client_at(data_dir, address) as client:
        found = list(client.workflows())
    if as_json:
        out_json([msgspec.to_builtins(one) for one in found])
    elif not found:
        out("no workflows")
    else:
        table(
            ("WORKFLOW", "LATEST", "VERSIONS", "REGISTERED", "DESCRIPTION"),
            [
                (w.name, w.latest, str(w.versions), time_text(w.registered_ms), w.description or "")
                for w in found
            ],
        )


def show_workflow(
    workflow: WorkflowName,
    address: Address = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show a version of a workflow, the latest where none is named, and the list of all.

    Examples:

      omium workflows show greeting
      omium workflows show greeting@2 --json
    """
    name, _, version = workflow.partition("@")
    with client_at(data_dir, address) as client:
        latest = client.workflow(name)
        found = client.workflow(name, version) if version else latest
    shown: dict[str, Any] = {
        **msgspec.to_builtins(found),
        "versions": msgspec.to_builtins(latest.versions),
    }
    if as_json:
        out_json(shown)
        return
    for line in _lines(found):
        out(line)
    out("")
    table(
        ("VERSION", "REGISTERED", "DEFINITION", "CODE"),
        [
            (v.version, time_text(v.registered_ms), _short(v.digest), _short(v.code or ""))
            for v in latest.versions
        ],
    )


def _lines(found: WorkflowVersion) -> list[str]:
    agents = [f"{one['name']} ({one['framework']})" for one in found.definition["agents"]]
    return [
        f"workflow    {found.name}@{found.version}",
        f"registered  {time_text(found.registered_ms)}",
        f"definition  {found.digest}",
        f"code        {_code(found.code)}",
        f"agents      {', '.join(agents)}",
    ]


def _code(code: PinnedCode | None) -> str:
    if code is None:
        return "what is installed"
    whose = "uploaded" if code.uploaded else "the service's"
    return f"{code.digest}, {counted(code.files, 'file')}, {whose}"


def _short(digest: str) -> str:
    return f"{digest[:19]}…" if digest else ""


def _bundle(file: Path, folder: Path | None, settings: Settings) -> Bundle | None:
    """What is to be uploaded; None where all that the workflow names is installed."""
    from omium.runtime.located import located
    from omium.serve.shipping import code_of, not_code
    from omium.storage.code_bundle import pack

    found = located(file)
    if folder is not None:
        return pack([folder.absolute()], leave_out=not_code(settings))
    return code_of(found.workflow, found.import_paths, leave_out=not_code(settings))
