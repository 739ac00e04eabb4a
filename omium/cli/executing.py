"""``run``, ``resume`` and ``fork``: commands that take an execution to its end from here."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from omium.cli.displays import display_for
from omium.cli.inputs import inputs_given
from omium.cli.looking import ending_error
from omium.cli.options import (
    Address,
    AsJson,
    DataDir,
    ExecutionName,
    Inputs,
    InputsFile,
    Labels,
    Model,
    Quiet,
    ShowWorkerOutput,
    Timeout,
    WorkflowFile,
    json_or_text,
    labels_of,
    pairs_of,
)
from omium.cli.places import Place, place_to_act
from omium.cli.records import opened_at
from omium.cli.resolving import DECISIONS, Resolution, decision_named, somebody
from omium.cli.telling import tell, tell_completed
from omium.cli.terminal import say
from omium.clock import SystemClock
from omium.config import Settings
from omium.errors import (
    Conflict,
    DataDirectoryBusy,
    InputError,
    NotFound,
    PermissionRefused,
)
from omium.execution.events import Entry
from omium.execution.state import ExecutionState
from omium.runtime.endpoint import live_endpoint
from omium.types import ExecutionId

if TYPE_CHECKING:
    # What drives a runtime imports Ray, which takes a second: only when it is needed.
    from omium.actors.client import Client
    from omium.cli.driving import Work
    from omium.cli.following import Begin
    from omium.client import AsyncClient
    from omium.definitions import Workflow
    from omium.storage.code_bundle import Bundle


def run(
    workflow: WorkflowFile,
    inputs: Inputs = None,
    inputs_file: InputsFile = None,
    model: Model = None,
    labels: Labels = None,
    address: Address = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    timeout_s: Timeout = None,
    quiet: Quiet = False,
    show_worker_output: ShowWorkerOutput = False,
) -> None:
    """Run a workflow to its end and print its result.

    Everything that can be checked is checked before anything is started. What happens is
    shown on stderr meanwhile, the result is printed on stdout. Ctrl-C stops the run and leaves
    it resumable. With [bold]--json[/] every event of the journal is a JSON line on stdout, and
    the last line has [bold]"type": "result"[/].

    With [bold]--address[/] the definition is registered at that service, which runs it and
    finds its code in folders of its own; Ctrl-C leaves it running there. So it does where a
    service of this machine uses the data directory.

    Examples:

      omium run examples/loan-apr/workflow.yaml --input principal=10000 --input interest=550
      omium run workflow.yaml --inputs-file inputs.json --model openai/gpt-4o-mini
      omium run workflow.yaml --address http://127.0.0.1:8700 --label customer=4711
      omium run workflow.yaml --json | jq -c 'select(.type == "result") | .output'
    """
    from omium.definitions import load_workflow
    from omium.frameworks.registry import FRAMEWORKS

    place = place_to_act(data_dir, address)
    settings = place.settings
    named = labels_of(labels)
    definition = load_workflow(workflow, frameworks=FRAMEWORKS)
    given = inputs_given(definition, inputs, inputs_file)
    if place.address is not None:

        async def ask(service: AsyncClient) -> ExecutionId:
            await _register(service, workflow, definition, settings)
            handle = await service.run(
                definition.name, given, version=definition.version, model=model, labels=named
            )
            return ExecutionId(handle.id)

        _follow_to_its_end(place, ask, timeout_s=timeout_s, as_json=as_json, quiet=quiet)

    from omium.cli.driving import Work, submission
    from omium.runtime.prepare import prepare
    from omium.runtime.runtime import prepare_data_dir, warm_for

    prepared = prepare(workflow, given, settings, model=model)
    prepare_data_dir(settings)
    work = Work(
        begin=submission(prepared, named, ExecutionId(SystemClock().new_id("ex"))),
        warm=warm_for(prepared.workflow, settings.pool.spare),
        timeout_s=timeout_s,
        show_worker_output=show_worker_output,
    )
    _take_to_its_end(place, work, as_json=as_json, quiet=quiet)


def resume(
    execution: ExecutionName,
    decide: Annotated[
        str | None,
        typer.Option(
            "--decide",
            metavar="DECISION",
            help="About a call whose outcome is unknown: [bold]retry[/] makes it again, "
            "[bold]answer[/] takes what --answer says for its result, [bold]fail[/] lets it "
            "have failed. About a handoff that was rejected: [bold]retry[/] lets its giver run "
            "again, [bold]fail[/] ends the execution.",
            autocompletion=lambda incomplete: [d for d in DECISIONS if d.startswith(incomplete)],
            show_default=False,
        ),
    ] = None,
    answer: Annotated[
        str | None,
        typer.Option(
            "--answer",
            metavar="JSON|@FILE|TEXT",
            help="The answer to what is asked; for a tool that wants approval the arguments to "
            "run it with instead; the result of a call whose outcome is unknown; or what is "
            "handed over instead of what was rejected.",
            show_default=False,
        ),
    ] = None,
    approve: Annotated[
        bool,
        typer.Option(
            "--approve",
            help="Run the tool that wants approval, once; or take a rejected handoff as it is.",
        ),
    ] = False,
    deny: Annotated[
        bool, typer.Option("--deny", help="Do not run the tool, or give no answer.")
    ] = False,
    reason: Annotated[
        str,
        typer.Option(
            "--reason",
            metavar="TEXT",
            help="Why; the agent is told of a denial's.",
            show_default=False,
        ),
    ] = "",
    call: Annotated[
        int,
        typer.Option(
            "--call",
            metavar="INDEX",
            min=0,
            help="The journal index of the call that is meant, where more than one waits.",
            show_default=False,
        ),
    ] = 0,
    address: Address = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    timeout_s: Timeout = None,
    quiet: Quiet = False,
    show_worker_output: ShowWorkerOutput = False,
) -> None:
    """Go on with an execution that was interrupted, paused or failed.

    Calls that were answered are not made again. One that has completed is not run again: its
    result is printed. One that waits for an answer or an approval goes on with it;
    [bold]omium show[/] says what is asked.

    Examples:

      omium resume last
      omium resume last --answer '{"rate": 4.5}'
      omium resume last --approve
      omium resume ex_0kq3 --deny --reason "over the limit" --call 12
      omium resume ex_0kq3 --decide retry
      omium resume last --decide answer --answer '{"sent": true}'
    """
    place = place_to_act(data_dir, address)
    decision = decision_named(decide, answer, approve=approve, deny=deny)
    with opened_at(place) as records:
        state = records.state(records.resolve(execution))
        past = tuple(records.entries(state.id))
        if state.status == "completed":
            tell_completed(state, records.output(state), past, as_json=as_json, quiet=quiet)
            return
        if state.status == "cancelled":
            raise ending_error(records, state)
    given = Resolution(decision=decision, answer=answer, reason=reason, call=call)
    given.check(state, place)
    value = given.value(state)
    if place.address is not None:

        async def ask(service: AsyncClient) -> ExecutionId:
            if decision is not None or state.status in ("paused", "failed"):
                await service.execution(state.id).resume(
                    decision=decision, answer=value, call=call or None, reason=reason
                )
            return state.id

        _follow_to_its_end(place, ask, past=past, timeout_s=timeout_s, as_json=as_json, quiet=quiet)

    async def begin(client: Client) -> ExecutionId:
        await client.resume(
            state.id, decision=decision, answer=value, call=call, reason=reason, by=somebody()
        )
        return state.id

    work = _work_on(place.settings, state, begin, past, timeout_s, show_worker_output)
    _take_to_its_end(place, work, as_json=as_json, quiet=quiet)


def fork(
    execution: ExecutionName,
    at: Annotated[
        int,
        typer.Option(
            "--at",
            metavar="INDEX",
            min=1,
            help="The journal index to fork at, such as a checkpoint's.",
            show_default=False,
        ),
    ],
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PATH=VALUE",
            help="A change: inputs.…, agents.NAME.… or outputs.AGENT.…; the value is JSON, "
            "else text. May be repeated.",
            show_default=False,
        ),
    ] = None,
    code: Annotated[
        Path | None,
        typer.Option(
            "--code",
            metavar="FOLDER",
            help="Run on the code that is in this folder now, instead of the other's. What "
            "differs is told.",
            exists=True,
            file_okay=False,
            show_default=False,
        ),
    ] = None,
    address: Address = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    timeout_s: Timeout = None,
    quiet: Quiet = False,
    show_worker_output: ShowWorkerOutput = False,
) -> None:
    """Start a new execution from a point in another's journal, with changes or without.

    The other one is only read. What it had done up to that point is not done again. It runs on
    the very code that the other one ran on, whatever is in the folders now; with
    [bold]--code[/] on other code, which must have every function that the workflow names, and
    what their modules import of the code that it takes the place of.

    Examples:

      omium checkpoints last
      omium fork last --at 9 --set inputs.years=2
      omium fork last --at 9 --code .
      omium fork ex_0kq3 --at 9 --set agents.analyst.model=openai/gpt-4o-mini
    """
    place = place_to_act(data_dir, address)
    wanted = {name: json_or_text(text) for name, text in pairs_of(changes, "--set").items()}
    with opened_at(place) as records:
        state = records.state(records.resolve(execution))
    if at > state.index:
        raise InputError(f"{state.id} has journal indexes 1 to {state.index}, not {at}")
    if place.address is not None:
        if code is not None:
            raise InputError("--code: a service runs the code that it has; fork in its directory")

        async def ask(service: AsyncClient) -> ExecutionId:
            return ExecutionId((await service.execution(state.id).fork(at, wanted)).id)

        _follow_to_its_end(place, ask, timeout_s=timeout_s, as_json=as_json, quiet=quiet)

    new = _new_code(place.settings, state, code, wanted) if code is not None else None

    async def begin(client: Client) -> ExecutionId:
        return await client.fork(state.id, at, wanted, code=await client.put_code(new))

    work = _work_on(place.settings, state, begin, (), timeout_s, show_worker_output, wanted)
    _take_to_its_end(place, work, as_json=as_json, quiet=quiet)


# ------------------------------------------------------------------ what was asked for


def _new_code(
    settings: Settings, state: ExecutionState, folder: Path, changes: Mapping[str, Any]
) -> Bundle:
    """What is in a folder, to take the place of the code of an execution; tells what differs.

    Raises ``InputError`` where it lacks what the workflow, with its changes, names.
    """
    from omium.definitions import workflow_from_data
    from omium.execution.fork import changed
    from omium.serve.composition import s3_options
    from omium.serve.shipping import check_new_code, not_code
    from omium.storage.blobs import open_blob_store
    from omium.storage.code_bundle import pack

    old: bytes | None = None
    if state.code is not None:
        blobs = open_blob_store(settings.blobs, s3=s3_options(settings))
        old = asyncio.run(blobs.get(state.code.blob, tenant=state.tenant))
    new = pack((folder.absolute(),), leave_out=not_code(settings))
    definition: dict[str, Any] = state.definition.inline
    for path, value in changes.items():
        if path.startswith("agents."):
            definition = changed(definition, path, value)
    say(f"code: {check_new_code(workflow_from_data(definition), new, old)}")
    return new


async def _register(
    service: AsyncClient, file: Path, definition: Workflow, settings: Settings
) -> None:
    """See to it that the service has this definition. That takes an admin key; one that may
    only run will do where it is there already. Code that has changed since is told of."""
    from omium.runtime.located import located
    from omium.serve.shipping import code_of, not_code
    from omium.storage.code_bundle import digest_of

    try:
        there = await service.workflow(definition.name, definition.version)
    except NotFound:
        there = None
    same = there is not None and there.digest == definition.digest
    if there is not None and same and there.code is not None and there.code.uploaded:
        paths = located(file).import_paths
        try:
            here = code_of(definition, paths, leave_out=not_code(settings))
        except InputError:
            # What cannot be packed is not what was uploaded. It is not needed here, either.
            here = None
        if here is not None and digest_of(here.data) != there.code.digest:
            say("note: the code here is another than was uploaded; this runs on what was uploaded")
        return
    try:
        await service.register(file)
    except (Conflict, PermissionRefused) as error:
        if not same:
            raise
        if isinstance(error, Conflict):
            say(f"note: {error}; this runs on what was registered")


def _work_on(
    settings: Settings,
    state: ExecutionState,
    begin: Any,
    past: tuple[Entry, ...],
    timeout_s: float | None,
    show_worker_output: bool,
    changes: Mapping[str, Any] | None = None,
) -> Work:
    """Work on an execution that exists, after the checks that its definition needs."""
    from omium.cli.driving import Work
    from omium.definitions import workflow_from_data
    from omium.runtime.runtime import warm_for
    from omium.serve.composition import check_workflow

    workflow: Workflow = workflow_from_data(state.definition.inline)
    if not any(path.startswith("agents.") for path in changes or {}):
        check_workflow(workflow, settings, state.model or None)
    return Work(
        begin=begin,
        past=past,
        warm=warm_for(workflow, settings.pool.spare),
        timeout_s=timeout_s,
        show_worker_output=show_worker_output,
    )


# ------------------------------------------------------------------ to its end


def _take_to_its_end(place: Place, work: Work, *, as_json: bool, quiet: bool) -> NoReturn:
    """Drive, show, tell how it ended, and exit with what that means."""
    from omium.cli.driving import drive, ray_output_to

    settings = place.settings
    owner = live_endpoint(settings.data_dir)
    if owner is not None:
        raise DataDirectoryBusy(str(settings.data_dir), f"omium (process {owner.pid})")
    display = display_for(as_json=as_json, quiet=quiet)
    try:
        with ray_output_to(settings.data_dir, sys.stderr if work.show_worker_output else None):
            ending = asyncio.run(drive(settings, work, display))
    finally:
        display.close()
    raise typer.Exit(tell(ending, place, as_json=as_json, quiet=quiet))


def _follow_to_its_end(
    place: Place,
    begin: Begin,
    *,
    past: tuple[Entry, ...] = (),
    timeout_s: float | None,
    as_json: bool,
    quiet: bool,
) -> NoReturn:
    """The same for an execution of a service, which goes on whatever happens here."""
    from omium.cli.following import follow

    display = display_for(as_json=as_json, quiet=quiet)
    try:
        ending = asyncio.run(follow(place, begin, display, past=past, timeout_s=timeout_s))
    finally:
        display.close()
    raise typer.Exit(tell(ending, place, as_json=as_json, quiet=quiet))
