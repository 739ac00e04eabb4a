"""Every command line of the documentation is one that there is."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import typer

from omium.cli.app import app
from tests.docs.pages import PAGES, ROOT, Block, blocks, named, omium_arguments, shell_lines, spans

PROGRAM: Any = typer.main.get_command(app)

SHELL = [b for page in PAGES for b in blocks(page, "console", "bash", "sh")]
TYPED = [
    pytest.param(arguments, id=f"{block.where}-omium {shlex.join(arguments)}")
    for block in SHELL
    for line in shell_lines(block)
    for arguments in omium_arguments(line)
]


def command_of(arguments: list[str]) -> tuple[Any, list[str]]:
    """The command that ``arguments`` begin with, and the arguments that are left for it."""
    command, left = PROGRAM, list(arguments)
    while left and left[0] in getattr(command, "commands", {}):
        command = command.commands[left.pop(0)]
    return command, left


@pytest.mark.parametrize("arguments", TYPED)
def test_a_command_line_is_taken(arguments: list[str]) -> None:
    command, left = command_of(arguments)
    assert not getattr(command, "commands", {}), f"no command omium {shlex.join(arguments)}"
    try:
        command.make_context("omium", left)
    except typer.TyperException as error:
        pytest.fail(f"omium {shlex.join(arguments)}: {error.format_message()}")


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_command_in_the_text_is_there(page: Any) -> None:
    for span in spans(page):
        if not span.startswith("omium "):
            continue
        command, left = command_of(span.split()[1:])
        assert not getattr(command, "commands", {}) or left[0].startswith("--"), span
        known = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
        # What typer adds to the root.
        known |= {"--install-completion", "--help"}
        used = {word.partition("=")[0] for word in left if re.match(r"--?[a-z]", word)}
        assert used <= known, f"{span}: there is no {used - known}"


def test_the_lists_of_commands_are_whole() -> None:
    told = {
        tuple(span.split()[1:3]) for span in spans(ROOT / "README.md") if span.startswith("omium ")
    }
    first = {words[0] for words in told}
    assert set(PROGRAM.commands) <= first
    assert {("models", name) for name in PROGRAM.commands["models"].commands} <= told


@pytest.mark.parametrize("block", SHELL, ids=lambda b: b.where)
def test_what_make_is_told_to_make_is_there(block: Block) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in shell_lines(block):
        for target in re.findall(r"^make ([a-z-]+)", line):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), line


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_what_the_text_tells_make_is_there(page: Any) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for span in spans(page):
        if span.startswith("make "):
            assert re.search(rf"^{span.split()[1]}:", makefile, re.MULTILINE), span
