"""Files of definitions: the good, the unreadable and the too large."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from omium.definitions import load_workflow, parse_workflow
from omium.definitions.document import MAX_TEXT_BYTES
from omium.errors import DefinitionError, InputError


def _problems(path: Path) -> tuple[str, ...]:
    with pytest.raises(DefinitionError) as error:
        load_workflow(path)
    assert error.value.source == str(path)
    return error.value.problems


def test_a_file_is_its_text(loan_file: Path) -> None:
    workflow = load_workflow(loan_file)
    assert workflow == parse_workflow(loan_file.read_text(encoding="utf-8"), "loan")
    assert [agent.name for agent in workflow.agents] == ["intake", "analyst", "writer"]


def test_frameworks_are_the_callers(loan_file: Path) -> None:
    with pytest.raises(DefinitionError) as error:
        load_workflow(loan_file, frameworks=["crewai"])
    line = "line 42: agents[2].framework: found 'python', expected one of crewai"
    assert error.value.problems == (line,)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read '.*gone\.yaml': No such file"):
        load_workflow(tmp_path / "gone.yaml")


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Is a directory"):
        load_workflow(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "secret.yaml"
    path.touch(mode=0)
    with pytest.raises(InputError, match="Permission denied"):
        load_workflow(path)


def test_invalid_utf_8_is_placed(tmp_path: Path) -> None:
    path = tmp_path / "bytes.yaml"
    path.write_bytes(b"name: t\nversion: \xff\n")
    told = "line 2: found text that is not UTF-8 (byte 17 is 0xff), expected UTF-8"
    assert _problems(path) == (told,)


def test_a_large_file_is_not_parsed(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    with path.open("wb") as file:
        file.truncate(10_000_000)
    assert _problems(path) == (f"found 10000000 bytes, expected at most {MAX_TEXT_BYTES} bytes",)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs a file without a size")
def test_a_file_without_a_size_is_not_read_to_its_end() -> None:
    (told,) = _problems(Path("/dev/zero"))
    expected = f"expected at most {MAX_TEXT_BYTES} bytes"
    assert told == f"found more than {MAX_TEXT_BYTES} bytes, {expected}"
