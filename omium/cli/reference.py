"""The reference of the command line, ``docs/cli.md``, made from the commands themselves.

``python -m omium.cli.reference docs/cli.md`` writes it; a test keeps it up to date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from rich.text import Text

from omium.cli.app import app
from omium.errors import exit_code_of, kinds

_HEAD = """\
# Command line

<!-- Made by `python -m omium.cli.reference docs/cli.md`; do not edit. -->

`omium` and `python -m omium` are the same program. Results go to stdout, everything else
(progress, errors, hints) to stderr. `--json` makes stdout machine-readable: one document, or
for `run`, `resume`, `fork` and `watch` one line for each event of the journal and a last line with
`"type": "result"`. An error is one line on stderr, `error: …`; mistakes in a definition or in
inputs get a line each. With `--json` an error before there is an execution is also a line on
stdout with `"type": "error"`.

`ID` is an execution's id, an unambiguous beginning of it, or `last`. `omium --install-completion`
makes the shell complete commands, options, ids and statuses.

Ctrl-C, SIGTERM and a lost terminal stop a run in good order: nothing is left behind, and the
execution can be resumed. What Ray prints in the driver is kept in `driver.log` in the data
directory. A run at a service, named by `--address`, goes on there: `omium watch` shows it again.

## Exit codes

| code | meaning | kinds of failure |
|---|---|---|
"""
_MEANINGS = {
    0: "done",
    1: "Omium, or the machine it runs on, failed",
    2: "wrong input, definition, setting or usage",
    3: "the agents' own code failed, or an execution failed for a reason of its own",
    4: "the execution is paused and waits for a decision",
    5: "the execution was cancelled",
    6: "a model provider or another service failed",
    7: "storage failed: full, unwritable, or a corrupt record",
    8: "another process uses the data directory",
    9: "a replay differs from what was recorded (`omium test replay`)",
    129: "ended by SIGHUP; the execution can be resumed",
    130: "ended by Ctrl-C (SIGINT); the execution can be resumed",
    143: "ended by SIGTERM; the execution can be resumed",
}


def reference() -> str:
    """The whole page, as Markdown."""
    root: Any = typer.main.get_command(app)
    parts = [_HEAD + "\n".join(_code_rows()), "## Commands"]
    for name, command in root.commands.items():
        inner: dict[str, Any] = getattr(command, "commands", {})
        if inner:
            parts += [_page(f"{name} {sub}", one) for sub, one in inner.items()]
        else:
            parts.append(_page(name, command))
    return "\n\n".join(parts) + "\n"


def _code_rows() -> Iterator[str]:
    found: dict[int, list[str]] = {}
    for kind in kinds():
        found.setdefault(exit_code_of(kind), []).append(kind)
    for code, meaning in _MEANINGS.items():
        yield f"| {code} | {meaning} | {', '.join(f'`{kind}`' for kind in found.get(code, []))} |"


def _page(name: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    usage = " ".join(["omium", name, *(_placeholder(one) for one in arguments), "[OPTIONS]"])
    paragraphs = _plain(command.help).split("\n\n")
    text: list[str] = [f"### omium {name}", f"```\n{usage}\n```"]
    for paragraph in paragraphs:
        if paragraph.startswith("  "):
            lines = "\n".join(line.removeprefix("  ") for line in paragraph.splitlines())
            text.append(f"```sh\n{lines}\n```")
        else:
            text.append(paragraph)
    rows = [(_placeholder(one), one) for one in arguments]
    rows += [(_spelling(one), one) for one in options if "--help" not in one.opts]
    table = [f"| `{shown}` | {_about(one)} |" for shown, one in rows]
    text.append("\n".join(["| argument or option | meaning |", "|---|---|", *table]))
    return "\n\n".join(text)


def _placeholder(argument: Any) -> str:
    shown = argument.metavar or argument.name.upper()
    return shown if argument.required or shown.startswith("[") else f"[{shown}]"


def _spelling(option: Any) -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    if option.is_flag:
        return names
    return f"{names} {option.metavar or {'limit': 'N'}.get(option.name, 'DIR')}"


def _about(param: Any) -> str:
    text = _plain(param.help or "").replace("|", "\\|")
    if param.param_type_name == "option" and param.required:
        text += " Required."
    elif param.default not in (None, False, ()) and not callable(param.default):
        text += f" Default: {param.default}."
    return text


def _plain(markup: str) -> str:
    return Text.from_markup(markup).plain


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(), encoding="utf-8")
