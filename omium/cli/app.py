"""The ``omium`` program: its commands put together, and its errors turned into exit codes.

0  done                        5  the execution was cancelled
1  Omium or the machine failed 6  a model or another service failed
2  wrong input or usage        7  storage failed
3  the agents' own code failed 8  the data directory is in use
4  paused: a decision is due   9  a replay differs from what was recorded

129, 130, 143  ended by SIGHUP, Ctrl-C, SIGTERM
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from omium import __version__
from omium.cli import (
    about,
    cancelling,
    developing,
    executing,
    keys,
    looking,
    models,
    replaying,
    safekeeping,
    service,
    starting,
    verifying,
    watching,
    webhooks,
    workflows,
)
from omium.cli.terminal import exit_code_for, out, out_json, say, tell_error
from omium.errors import OmiumError

EPILOG = (
    "Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 Omium or the machine "
    "failed, 2 wrong input, 3 agent code failed, 4 paused, 5 cancelled, 6 a model or service "
    "failed, 7 storage failed, 8 data directory in use, 9 a replay differs, 130/143 interrupted."
)


class Program(TyperGroup):
    """The root group: prints each error as one line and exits with its code."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        arguments = list(sys.argv[1:] if args is None else args)
        as_json = "--json" in arguments
        try:
            code = super().main(
                arguments,
                prog_name,
                complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                **extra,
            )
        except OmiumError as error:
            tell_error(error, as_json=as_json)
            code = exit_code_for(error)
        except typer.TyperException as error:
            code = _tell_usage(error, as_json=as_json)
        if not standalone_mode:
            return code
        sys.exit(code if isinstance(code, int) else 0)


def _tell_usage(error: typer.TyperException, *, as_json: bool) -> int:
    context = getattr(error, "ctx", None)
    hint = f" (see: {context.command_path} --help)" if context is not None else ""
    message = error.format_message().rstrip(".")
    say(f"error: {message}{hint}")
    if as_json:
        out_json(
            {"type": "error", "kind": "usage", "message": message, "exit_code": error.exit_code}
        )
    return error.exit_code


def _print_version(wanted: bool) -> None:
    if wanted:
        out(f"omium {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=Program,
    name="omium",
    help="Run multi-agent AI workflows durably: what was done stays done, whatever crashes.",
    epilog=EPILOG,
    rich_markup_mode="rich",
    no_args_is_help=False,
    # An unexpected exception is a mistake of ours: its plain traceback is what we want to see.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(
    ctx: typer.Context,
    _: bool = typer.Option(
        False, "--version", help="Print the version and exit.", callback=_print_version,
        is_eager=True,
    ),
) -> None:  # fmt: skip
    if ctx.invoked_subcommand is None:
        out(ctx.get_help())


def help_of(function: Callable[..., Any]) -> str:
    """The docstring of a command, paragraphs on one line each and examples as they are."""
    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    return "\n\n".join(
        text if text.startswith(" ") else " ".join(text.split("\n")) for text in paragraphs
    )


def _add(to: typer.Typer, panel: str | None, name: str, function: Callable[..., None]) -> None:
    to.command(name, help=help_of(function), rich_help_panel=panel)(function)


_RUNNING = "Run"
_SERVING = "Serve"
_LOOKING = "Look"
_KEEPING = "Keep safe"
_SETTING_UP = "Set up"

_models = typer.Typer(help="List the embedded models, and fetch their files.")
_add(_models, None, "list", models.list_models)
_add(_models, None, "pull", models.pull_model)

_workflows = typer.Typer(help="Register workflows and their code with a service; look at them.")
_add(_workflows, None, "register", workflows.register_workflow)
_add(_workflows, None, "list", workflows.list_workflows)
_add(_workflows, None, "show", workflows.show_workflow)

_keys = typer.Typer(help="Make, list and revoke API keys of a service.")
_add(_keys, None, "create", keys.create_key)
_add(_keys, None, "list", keys.list_keys)
_add(_keys, None, "revoke", keys.revoke_key)

_webhooks = typer.Typer(help="Have URLs told of executions, and see what became of it.")
_add(_webhooks, None, "create", webhooks.create_webhook)
_add(_webhooks, None, "list", webhooks.list_webhooks)
_add(_webhooks, None, "show", webhooks.show_webhook)
_add(_webhooks, None, "delete", webhooks.delete_webhook)
_add(_webhooks, None, "rotate", webhooks.rotate_webhook)
_add(_webhooks, None, "test", webhooks.test_webhook)
_add(_webhooks, None, "deliveries", webhooks.list_deliveries)
_add(_webhooks, None, "redeliver", webhooks.redeliver)

_tests = typer.Typer(help="Try recorded executions again against what has changed.")
_add(_tests, None, "replay", replaying.replay)

_add(app, _RUNNING, "run", executing.run)
_add(app, _RUNNING, "dev", developing.dev)
_add(app, _RUNNING, "resume", executing.resume)
_add(app, _RUNNING, "fork", executing.fork)
_add(app, _RUNNING, "interrupt", cancelling.interrupt)
_add(app, _RUNNING, "signal", cancelling.signal)
_add(app, _RUNNING, "cancel", cancelling.cancel)
_add(app, _SERVING, "up", service.up)
_add(app, _SERVING, "status", service.status)
_add(app, _SERVING, "down", service.down)
app.add_typer(_workflows, name="workflows", rich_help_panel=_SERVING)
app.add_typer(_keys, name="keys", rich_help_panel=_SERVING)
app.add_typer(_webhooks, name="webhooks", rich_help_panel=_SERVING)
_add(app, _KEEPING, "backup", safekeeping.backup)
_add(app, _KEEPING, "restore", safekeeping.restore)
_add(app, _KEEPING, "verify", verifying.verify)
_add(app, _LOOKING, "ps", looking.ps)
_add(app, _LOOKING, "show", looking.show)
_add(app, _LOOKING, "checkpoints", looking.checkpoints)
_add(app, _LOOKING, "result", looking.result)
_add(app, _LOOKING, "watch", watching.watch)
_add(app, _LOOKING, "logs", watching.logs)
app.add_typer(_tests, name="test", rich_help_panel=_LOOKING)
_add(app, _SETTING_UP, "init", starting.init)
_add(app, _SETTING_UP, "validate", about.validate)
app.add_typer(_models, name="models", rich_help_panel=_SETTING_UP)
_add(app, _SETTING_UP, "config", about.config)
_add(app, _SETTING_UP, "version", about.show_version)
