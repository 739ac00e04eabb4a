"""``dev``: a workflow that runs again whenever it is edited."""

from __future__ import annotations

import asyncio
import shlex
import sys
from typing import TYPE_CHECKING

import typer

from omium.cli.inputs import inputs_given
from omium.cli.options import (
    AsJson,
    DataDir,
    Inputs,
    InputsFile,
    Labels,
    Model,
    Quiet,
    ShowWorkerOutput,
    Timeout,
    WorkflowFile,
    labels_of,
    settings_of,
)
from omium.cli.places import Place

if TYPE_CHECKING:
    # What prepares a runtime imports much: only when it is needed.
    from omium.runtime.prepare import Prepared


def dev(
    workflow: WorkflowFile,
    inputs: Inputs = None,
    inputs_file: InputsFile = None,
    model: Model = None,
    labels: Labels = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    timeout_s: Timeout = None,
    quiet: Quiet = False,
    show_worker_output: ShowWorkerOutput = False,
) -> None:
    """Run a workflow, and run it again whenever its definition, code or inputs are edited.

    Ray and the workers stay warm between runs. An edit while it runs cancels that run and starts
    the next. A mistake in the definition, or an exception in the code, is told, and the next edit
    is waited for. Each run is an execution of its own, pinned to the code that it began with, which
    [bold]omium show[/] and the rest find afterwards.

    Ctrl-C ends it with all that it started; the run that was under way can be resumed. With
    [bold]--json[/] every event of the journal is a JSON line on stdout. After each run comes one
    with [bold]"type": "result"[/], before the next one with [bold]"type": "changed"[/].

    Examples:

      omium dev workflow.yaml --input question="What is an APR?"
      omium dev workflow.yaml --inputs-file inputs.json --model openai/gpt-4o-mini
      omium dev workflow.yaml --json | jq -c 'select(.type == "result") | .output'
    """
    from omium.cli.driving import ray_output_to
    from omium.cli.edits import Edits
    from omium.cli.rerunning import Rerunner, Wishes
    from omium.definitions import load_workflow
    from omium.frameworks.registry import FRAMEWORKS
    from omium.runtime.prepare import prepare
    from omium.runtime.runtime import prepare_data_dir
    from omium.runtime.service import refuse_second

    settings = settings_of(data_dir)
    named = labels_of(labels)

    def read() -> Prepared:
        given = inputs_given(load_workflow(workflow, frameworks=FRAMEWORKS), inputs, inputs_file)
        return prepare(workflow, given, settings, model=model)

    refuse_second(settings.data_dir)
    prepare_data_dir(settings)
    options = f" --data-dir {shlex.quote(str(data_dir))}" if data_dir is not None else ""
    rerunner = Rerunner(
        Place(settings=settings, address=None, options=options),
        Edits(
            read,
            [workflow] if inputs_file is None else [workflow, inputs_file],
            leave_out=(settings.data_dir, settings.models_dir),
        ),
        Wishes(
            labels=named,
            timeout_s=timeout_s,
            as_json=as_json,
            quiet=quiet,
            show_worker_output=show_worker_output,
        ),
    )
    with ray_output_to(settings.data_dir, sys.stderr if show_worker_output else None):
        code = asyncio.run(rerunner.run())
    raise typer.Exit(code)
