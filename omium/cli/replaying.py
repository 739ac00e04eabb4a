"""``test replay``: recorded executions run again against what has changed since, and compared."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from omium.cli.options import (
    Address,
    AsJson,
    DataDir,
    complete_execution,
    json_or_text,
    pairs_of,
)
from omium.cli.places import place_of
from omium.cli.records import Records, opened_at
from omium.cli.terminal import out, out_json, say
from omium.cli.wording import counted, json_text, one_line
from omium.config import Settings
from omium.errors import InputError
from omium.types import Json

if TYPE_CHECKING:
    # These bring the whole runtime along: only when it is needed.
    from omium.runtime.located import Located
    from omium.testing.recording import Recording
    from omium.testing.replay import Replay, Tools

DIFFERS = 9
"""The exit code where a replay differs from what was recorded."""

VALUE_CHARS_MAX = 160


def replay(
    executions: Annotated[
        list[str],
        typer.Argument(
            metavar="ID...",
            help="Executions: an id, an unambiguous beginning of one, or [bold]last[/].",
            autocompletion=complete_execution,
            show_default=False,
        ),
    ],
    workflow: Annotated[
        Path | None,
        typer.Option(
            "--workflow",
            "-w",
            metavar="FILE",
            help="The definition to run, with the code beside it. Default: the recorded one, "
            "with the code that is in its folders now.",
            show_default=False,
        ),
    ] = None,
    code: Annotated[
        Path | None,
        typer.Option(
            "--code",
            metavar="FOLDER",
            help="The folder to look the code up in.",
            exists=True,
            file_okay=False,
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="PROVIDER/MODEL",
            help="The model for all agents that take theirs from the definition.",
            show_default=False,
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PATH=VALUE",
            help="A change: inputs.… or agents.NAME.…; the value is JSON, else text. May be "
            "repeated.",
            show_default=False,
        ),
    ] = None,
    tools: Annotated[
        str,
        typer.Option(
            "--tools",
            metavar="WHICH",
            help="[bold]recorded[/]: results come from the record, and a call that is not there "
            "fails; [bold]live[/]: every tool acts.",
            autocompletion=lambda incomplete: [
                one for one in ("recorded", "live") if one.startswith(incomplete)
            ],
        ),
    ] = "recorded",
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Ask no model: a request that is not on record fails."),
    ] = False,
    timeout_s: Annotated[
        float,
        typer.Option("--timeout", metavar="SECONDS", min=0.001, help="For each replay."),
    ] = 300.0,
    address: Address = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Run recorded executions again, against changed code, prompts or another model, and tell
    what differs: in results, steps, calls and cost.

    A model's answer comes from the record where the request is the same; any other request is
    really made, and reported. Tools do not act, unless that is asked for. Replays run in this
    process and write into no journal. The exit code is 0 where nothing differs, 9 where
    something does.

    Examples:

      omium test replay last
      omium test replay last --workflow workflow.yaml --offline
      omium test replay ex_0kq3 ex_0kq4 --model openai/gpt-4o-mini --json
    """
    from omium.testing.replay import replay as run_replay

    if tools not in ("recorded", "live"):
        raise InputError(f"--tools {tools!r}: expected recorded or live")
    place = place_of(data_dir, address)
    wanted = {name: json_or_text(text) for name, text in pairs_of(changes, "--set").items()}
    with opened_at(place) as records:
        recordings = [_recording(records, name) for name in executions]
    replays: list[Replay] = []
    for recording in recordings:
        found, recorded = _to_run(recording, workflow, code, wanted)
        if not as_json:
            say(f"replaying {recorded.id}")
        done = asyncio.run(
            run_replay(
                recorded,
                found,
                model=model if model is not None else recorded.model,
                router=lambda: _router(place.settings),
                tools=cast("Tools", tools),
                offline=offline,
                timeout_s=timeout_s,
            )
        )
        replays.append(done)
        if not as_json:
            _tell(done)
    same = sum(one.same for one in replays)
    if as_json:
        shown = [_json(one) for one in replays]
        out_json({"replays": shown, "same": same, "different": len(replays) - same}, pretty=True)
    raise typer.Exit(0 if same == len(replays) else DIFFERS)


def _recording(records: Records, name: str) -> Recording:
    from omium.testing.recording import recording_of

    state = records.state(records.resolve(name))

    async def value(payload: Any) -> Json:
        return await asyncio.to_thread(records.value, payload, state)

    return asyncio.run(recording_of(records.entries(state.id), value))


def _to_run(
    recorded: Recording, file: Path | None, code: Path | None, changes: Mapping[str, Json]
) -> tuple[Located, Recording]:
    """What to run, and the recording with the inputs to run it on."""
    from dataclasses import replace

    from omium.definitions import workflow_from
    from omium.execution.fork import changed
    from omium.frameworks.registry import FRAMEWORKS
    from omium.runtime.located import Located, located

    if file is not None:
        found = located(file)
        definition, paths = found.workflow.to_data(), found.import_paths
    else:
        definition, paths = recorded.definition, recorded.import_paths
    inputs = recorded.inputs
    for path, value in changes.items():
        head, _, rest = path.partition(".")
        match head:
            case "inputs" if rest:
                inputs = changed(inputs, rest, value)
            case "agents" if rest:
                definition = changed(definition, path, value)
            case _:
                raise InputError(f"--set {path!r}: expected inputs.… or agents.NAME.…")
    if code is not None:
        paths = (str(code.absolute()),)
    workflow = workflow_from(definition, frameworks=FRAMEWORKS)
    return (
        Located(workflow=workflow, import_paths=tuple(paths)),
        replace(recorded, inputs=inputs),
    )


def _router(settings: Settings) -> Any:
    from omium.llm.router import Router
    from omium.serve.composition import router_settings

    return Router(router_settings(settings))


# ------------------------------------------------------------------ telling


def _tell(done: Replay) -> None:
    from omium.testing.comparison import figures_of

    took = figures_of(done.replayed)
    counts = ", ".join(
        (
            counted(took.steps, "step"),
            counted(took.llm_calls, "LLM call"),
            counted(took.tool_calls, "tool call"),
        )
    )
    out(f"{done.recorded.id}: {'same' if done.same else 'differs'} ({counts})")
    for difference in done.differences:
        before, after = _shown(difference.before), _shown(difference.after)
        out(f"  {difference.where}: {before} → {after}")
    for divergence in done.divergences:
        step = f" step {divergence.step}" if divergence.step else ""
        detail = (
            f": {one_line(divergence.detail, 2 * VALUE_CHARS_MAX)}" if divergence.detail else ""
        )
        kind = divergence.kind.replace("_", " ")
        out(f"  {kind}: {divergence.name} of {divergence.agent}{step}{detail}")


def _shown(value: Json) -> str:
    return "nothing" if value is None else one_line(json_text(value), VALUE_CHARS_MAX)


def _json(done: Replay) -> dict[str, Any]:
    from omium.testing.comparison import figures_of

    return {
        "execution": done.recorded.id,
        "same": done.same,
        "status": done.replayed.status,
        "recorded": asdict(figures_of(done.recorded)),
        "replayed": asdict(figures_of(done.replayed)),
        "outputs": done.replayed.outputs,
        "differences": _records(done.differences),
        "divergences": _records(done.divergences),
    }


def _records(records: Sequence[Any]) -> list[dict[str, Any]]:
    return [asdict(record) for record in records]
