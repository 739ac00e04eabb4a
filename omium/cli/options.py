"""Arguments and options that several commands share, with what shells complete for them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from omium.cli.places import place_of
from omium.cli.records import LAST, known_ids
from omium.config import Settings, load_settings
from omium.errors import InputError, OmiumError
from omium.types import Status

STATUSES: tuple[Status, ...] = get_args(Status)
LABELS_MAX = 16
_LABEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}")
_LABEL_VALUE = re.compile(r"[ -~]{0,200}")


def settings_of(data_dir: Path | None) -> Settings:
    """The settings in force, with ``--data-dir`` where it was given. Raises ``ConfigError``."""
    return load_settings({"data_dir": data_dir})


def complete_execution(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Execution ids that begin so, and ``last``."""
    given = ctx.params.get("data_dir")
    try:
        place = place_of(Path(given) if given else None, ctx.params.get("address"))
    except OmiumError:
        # A shell that completes a word has no place to show an error in.
        return []
    if place.address is None:
        found = known_ids(place.settings, incomplete)
    else:
        from omium.cli.remote import ids_at

        found = ids_at(place.address, incomplete)
    return [(LAST, "the newest execution"), *found] if LAST.startswith(incomplete) else found


def complete_status(incomplete: str) -> list[str]:
    """Statuses that begin so."""
    return [status for status in STATUSES if status.startswith(incomplete)]


DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="Where the journal is. Default: OMIUM_DATA_DIR, omium.toml, else the user's own.",
        show_default=False,
        file_okay=False,
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="URL",
        help="The service to ask. Default: OMIUM_ADDRESS, omium.toml, else none: the data "
        "directory is used.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for machines.")]
ExecutionName = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="An execution's id, an unambiguous beginning of it, or [bold]last[/].",
        autocompletion=complete_execution,
        show_default=False,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the result alone, and errors.")]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        min=0.001,
        help="Stop waiting after so many seconds; the execution can be resumed.",
        show_default=False,
    ),
]
ShowWorkerOutput = Annotated[
    bool,
    typer.Option("--show-worker-output", help="Show what agents and Ray print, on stderr."),
]
WorkflowFile = Annotated[
    Path,
    typer.Argument(metavar="WORKFLOW", help="A workflow definition, YAML or JSON."),
]

Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        "-i",
        metavar="NAME=VALUE",
        help="An input; its type is what the workflow's schema says. May be repeated.",
        show_default=False,
    ),
]
InputsFile = Annotated[
    Path | None,
    typer.Option(
        "--inputs-file",
        metavar="FILE.json",
        help="A JSON object of inputs; [bold]--input[/] wins over it.",
        show_default=False,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="PROVIDER/MODEL",
        help="The model for all agents, such as openai/gpt-4o-mini.",
        show_default=False,
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="NAME=VALUE",
        help="A label, to find the execution by. May be repeated.",
        show_default=False,
    ),
]


def labels_of(texts: list[str] | None) -> dict[str, str]:
    """``--label`` texts as labels, such as the HTTP API takes. Raises ``InputError``."""
    labels = pairs_of(texts, "--label")
    for name, value in labels.items():
        if not _LABEL_NAME.fullmatch(name) or not _LABEL_VALUE.fullmatch(value):
            raise InputError(
                f"--label {f'{name}={value}'!r}: expected a name of at most 63 letters, digits "
                "and ._/-, and a value of at most 200 printable ASCII characters"
            )
    if len(labels) > LABELS_MAX:
        raise InputError(f"--label: found {len(labels)}, expected at most {LABELS_MAX}")
    return labels


def pairs_of(texts: list[str] | None, option: str) -> dict[str, str]:
    """``name=value`` texts as a mapping. Raises ``InputError``."""
    pairs: dict[str, str] = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InputError(f"{option} {text!r}: expected name=value")
        pairs[name] = value
    return pairs


def json_or_text(text: str) -> Any:
    """A JSON value, or the text itself where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
