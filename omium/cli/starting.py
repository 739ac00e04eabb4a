"""``init``: starter projects, written from the folders beside this module."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

import typer

from omium.cli.options import AsJson
from omium.cli.terminal import out, out_json
from omium.errors import Conflict, InputError, StorageUnwritable

STARTERS = ("python", "crewai", "langgraph", "autogen", "mixed")
_COMMON = "common"
# Under their own names these would be rules of the folder that they are kept in.
_WRITTEN_AS = {"gitignore": ".gitignore"}


def init(
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Where to write it. Default: here.", show_default=False),
    ] = Path(),
    framework: Annotated[
        str,
        typer.Option(
            "--framework",
            "-f",
            metavar="NAME",
            help="python, crewai, langgraph, autogen, or mixed: three of them in one workflow.",
            autocompletion=lambda incomplete: [s for s in STARTERS if s.startswith(incomplete)],
        ),
    ] = "python",
    as_json: AsJson = False,
) -> None:
    """Write a starter project: a workflow, its code, a test of it, and a README.

    It runs at once, with the model that runs inside Omium. Nothing is overwritten: where a file
    is there already, nothing is written at all.

    Examples:

      omium init my-agents --framework langgraph
      cd my-agents && omium models pull && omium run workflow.yaml && python -m pytest
    """
    if framework not in STARTERS:
        raise InputError(f"--framework {framework!r}: expected {', '.join(STARTERS)}")
    written = write_starter(framework, directory)
    if as_json:
        out_json({"directory": str(directory), "framework": framework, "files": written})
        return
    out(f"written to {directory.absolute()}:")
    for name in written:
        out(f"  {name}")
    there = "" if directory == Path() else f"cd {shlex.quote(str(directory))} && "
    out(f"next: {there}omium models pull && omium run workflow.yaml && python -m pytest")


def write_starter(framework: str, directory: Path) -> list[str]:
    """Write the starter project of a framework; returns the names of its files.

    All of them are written, or none: raises ``Conflict`` where one is there already, and
    ``StorageUnwritable``.
    """
    contents = {
        _WRITTEN_AS.get(file.name, file.name): file.read_bytes() for file in _files(framework)
    }
    there = sorted(name for name in contents if (directory / name).exists())
    if there:
        raise Conflict(
            f"{str(directory)!r} has {', '.join(there)} already; nothing was written: "
            "give another directory"
        )
    written: list[Path] = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            path = directory / name
            with path.open("xb") as file:
                written.append(path)
                file.write(content)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise StorageUnwritable(str(directory), error.strerror or str(error)) from error
    return sorted(contents)


def _files(framework: str) -> Iterator[Traversable]:
    starters = files("omium.cli") / "starters"
    for name in (_COMMON, framework):
        # Python may have left the compiled form of what a test imported.
        yield from (file for file in (starters / name).iterdir() if file.is_file())
