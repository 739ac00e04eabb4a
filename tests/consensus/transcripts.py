"""The transcripts of etcd-io/raft: where they are, how they are written, and how to compare.

    # a comment
    command argument key=value key=(value, value)
    more input, any number of lines
    ----
    expected output, up to an empty line

They are Apache-2.0 and not part of this project: they are read where they lie, in the folder
``shared/data/raft-testdata`` beside the checkout.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from pathlib import Path

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "raft-testdata"

_ARGUMENT = re.compile(r"([^\s=]+)(?:=(\([^)]*\)|\S+))?")
# The wording of these lines is etcd's own, and says nothing that the others do not.
_LOG_LINE = re.compile(r"\s*(DEBUG|INFO|WARN|ERROR|FATAL) ")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """One command of a transcript, with the output that is expected of it."""

    line: int
    name: str
    words: tuple[str, ...]
    options: dict[str, tuple[str, ...]]
    input: str
    expected: str

    def option(self, name: str, default: str = "") -> str:
        """The single value of an option."""
        return self.options.get(name, (default,))[0]

    def numbers(self, name: str) -> tuple[int, ...]:
        """The values of an option, as numbers."""
        return tuple(int(value) for value in self.options.get(name, ()))


def files(folder: str) -> list[Path]:
    """The transcripts in one of the folders; none where they are missing."""
    return sorted((FOLDER / folder).glob("*.txt"))


def parse(path: Path) -> Iterator[Command]:
    """The commands of a transcript, in order."""
    lines = iter(enumerate(path.read_text(encoding="utf-8").splitlines(), 1))
    for number, line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        given: list[str] = []
        for _, more in lines:
            if more == "----":
                break
            given.append(more)
        expected: list[str] = []
        for _, more in lines:
            if not more.strip():
                break
            expected.append(more)
        name, *arguments = ((match[1], match[2]) for match in _ARGUMENT.finditer(line.strip()))
        yield Command(
            line=number,
            name=name[0],
            words=tuple(word for word, value in arguments if value is None),
            options={
                word: tuple(part.strip() for part in value.strip("()").split(",") if part.strip())
                for word, value in arguments
                if value is not None
            },
            input="\n".join(given),
            expected="\n".join(expected),
        )


def check(path: Path, answer: Callable[[Command], str]) -> None:
    """Every command of ``path`` has the output that is expected, log lines aside."""
    commands = list(parse(path))
    assert commands, f"no command in {path.name}"
    for command in commands:
        found = _told(answer(command))
        expected = _told(command.expected)
        assert found == expected, f"{path.name}:{command.line}: {command.name}"


def rewrite(path: Path, answer: Callable[[Command], str]) -> None:
    """Let ``path`` expect what ``answer`` says; comments and commands stay."""
    lines = path.read_text(encoding="utf-8").splitlines()
    commands = {command.line: command for command in parse(path)}
    told: list[str] = []
    output: list[str] = []
    expected = False
    for number, line in enumerate(lines, 1):
        if number in commands:
            output = answer(commands[number]).splitlines()
        if not expected:
            told.append(line)
        if line == "----":
            told += output
            expected = True
        elif expected and not line.strip():
            told.append("")
            expected = False
    path.write_text("\n".join(told) + "\n", encoding="utf-8")


def _told(output: str) -> list[str]:
    lines = [line.rstrip() for line in output.splitlines()]
    lines = [line for line in lines if line and not _LOG_LINE.match(line)]
    # A command that only logs says "ok" where nothing is logged.
    return lines or ["ok"]
