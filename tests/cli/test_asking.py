"""What is asked for wrongly is told in a line, with its exit code, before anything starts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omium import __version__
from tests.cli.conftest import Omium

Definition = Callable[..., Path]
GOOD: dict[str, Any] = {
    "name": "counting",
    "version": "1",
    "inputs": {
        "type": "object",
        "properties": {"to": {"type": "integer"}},
        "required": ["to"],
    },
    "agents": [
        {"name": "first", "framework": "python", "entrypoint": "tests.cli.agents:count"},
        {"name": "second", "framework": "python", "entrypoint": "tests.cli.agents:count"},
    ],
}


@pytest.fixture
def definition(tmp_path: Path) -> Definition:
    def write(**changes: object) -> Path:
        path = tmp_path / "workflow.json"
        path.write_text(json.dumps(GOOD | changes))
        return path

    return write


def test_validate(omium: Omium, definition: Definition) -> None:
    assert omium("validate", definition()).stdout == (
        "OK: counting 1, 2 agents\n  1. first (python)\n  2. second (python) after first\n"
    )
    agents = json.loads(omium("validate", definition(), "--json").stdout)["agents"]
    assert [(agent["name"], agent["after"]) for agent in agents] == [
        ("first", []),
        ("second", ["first"]),
    ]


def test_validate_tells_who_judges(omium: Omium, definition: Definition) -> None:
    judge = {"name": "judge", "framework": "python", "entrypoint": "tests.cli.agents:count"}
    handoff = {"from": "first", "to": "second", "validators": ["judge"]}
    path = definition(agents=[judge, *GOOD["agents"]], handoffs=[handoff])
    shown = omium("validate", path).stdout
    assert "2. judge (python) after first\n" in shown
    assert "3. second (python) after first, judged by judge\n" in shown
    agents = json.loads(omium("validate", path, "--json").stdout)["agents"]
    assert [agent["judged_by"] for agent in agents] == [[], [], ["judge"]]


def test_each_mistake_of_a_definition_has_a_line(omium: Omium, definition: Definition) -> None:
    agent = {"name": "first", "framework": "crewia", "entrypoint": "a:b", "retries": -1}
    path = definition(agents=[agent])
    for command in (("validate", path), ("run", path, "--input", "to=1")):
        shown = omium(*command)
        lines = shown.stderr.splitlines()
        assert shown.exit_code == 2
        assert lines[0] == f"error: {path}: 2 mistakes"
        assert len(lines) == 3
        assert "crewia" in shown.stderr
    told = json.loads(omium("validate", path, "--json").stdout)
    assert told["kind"] == "definition"
    assert len(told["problems"]) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        ((), 2, "inputs of 'counting': 1 mistake\n  to: "),
        (("--input", "to=many"), 2, "inputs of 'counting': 1 mistake\n  to: found 'many'"),
        (("--input", "to"), 2, "--input 'to': expected name=value\n"),
        (
            ("--input", "to=1", "--model", "opneai/x"),
            2,
            "no model provider 'opneai'; did you mean 'openai'? there is local, openai\n",
        ),
        (
            ("--input", "to=1", "--model", "openai/x"),
            2,
            "model 'openai/x' needs a key: set the environment variable OPENAI_API_KEY\n",
        ),
        (("--input", "to=1", "--model", "local/x"), 2, "no local model 'x'; "),
        (("--input", "to=1", "--timeout", "soon"), 2, "Invalid value for '--timeout': "),
        (("--inputs-file", "nowhere.json"), 2, "cannot read 'nowhere.json': No such file"),
    ],
)
def test_run_asked_wrongly(
    omium: Omium,
    definition: Definition,
    tmp_path: Path,
    arguments: tuple[str, ...],
    code: int,
    error: str,
) -> None:
    shown = omium("run", definition(), *arguments, "--data-dir", tmp_path / "data")
    assert shown.exit_code == code
    assert shown.stderr.startswith(f"error: {error}")
    assert shown.stdout == ""
    assert not (tmp_path / "data").exists()


def test_inputs_file(omium: Omium, definition: Definition, tmp_path: Path) -> None:
    file = tmp_path / "inputs.json"
    for text, error in (
        ("[1]", f"error: '{file}' holds a list, expected a JSON object\n"),
        ("{", f"error: '{file}' is not JSON: "),
    ):
        file.write_text(text)
        shown = omium("run", definition(), "--inputs-file", file)
        assert shown.exit_code == 2
        assert shown.stderr.startswith(error)


def test_an_unwritable_data_directory(omium: Omium, definition: Definition, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "data"
    shown = omium("run", definition(), "--input", "to=1", "--data-dir", path)
    assert (shown.exit_code, shown.stderr) == (
        7,
        f"error: cannot write {str(path)!r}: Not a directory\n",
    )


def test_a_missing_definition(omium: Omium, tmp_path: Path) -> None:
    shown = omium("run", tmp_path / "none.yaml", "--json")
    assert shown.exit_code == 2
    assert json.loads(shown.stdout)["kind"] == "input"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("run",), "Missing argument 'WORKFLOW' (see: omium run --help)"),
        (("ps", "--foo"), "No such option: --foo (see: omium ps --help)"),
        (("nonsense",), "No such command 'nonsense' (see: omium --help)"),
        (("fork", "last"), "Missing option '--at' (see: omium fork --help)"),
    ],
)
def test_usage(omium: Omium, arguments: tuple[str, ...], error: str) -> None:
    shown = omium(*arguments)
    assert (shown.exit_code, shown.stderr, shown.stdout) == (2, f"error: {error}\n", "")


def test_help_has_examples(omium: Omium) -> None:
    assert omium().exit_code == 0
    for command in ("run", "resume", "fork", "cancel", "ps", "show", "checkpoints", "result"):
        shown = omium(command, "--help")
        assert shown.exit_code == 0
        assert f"omium {command}" in shown.stdout.partition("Examples:")[2]


def test_config_masks_secrets(
    omium: Omium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "omium.toml"
    file.write_text(
        "[s3]\naccess_key = 'public'\nsecret_key = 's3cret'\n"
        "[providers.mine]\nbase_url = 'http://x/v1'\nheaders = {authorization = 'Bearer s3cret'}\n"
    )
    monkeypatch.setenv("OPENAI_API_KEY", "sk-s3cret")
    shown = omium("config", "--data-dir", tmp_path)
    assert f'data_dir = "{tmp_path}"' in shown.stdout
    assert 's3.secret_key = "**********"' in shown.stdout
    assert 's3.access_key = "public"' in shown.stdout
    assert "s3cret" not in shown.stdout + omium("config", "--json").stdout


def test_a_wrong_setting(omium: Omium, tmp_path: Path) -> None:
    (tmp_path / "omium.toml").write_text("[pool]\nspare = -1\n")
    shown = omium("ps")
    assert shown.exit_code == 2
    assert shown.stderr.startswith("error: settings that cannot be used: pool.spare: ")


def test_version(omium: Omium) -> None:
    assert omium("--version").stdout == f"omium {__version__}\n"
    assert json.loads(omium("version", "--json").stdout)["omium"] == __version__


def test_models(omium: Omium, tmp_path: Path) -> None:
    (row,) = json.loads(omium("models", "list", "--json", "--models-dir", tmp_path).stdout)
    assert (row["model"], row["present"]) == ("local/smollm2-135m-instruct", False)
    shown = omium("models", "pull", "gpt-5", "--models-dir", tmp_path)
    assert shown.exit_code == 2
    assert shown.stderr == ("error: no embedded model 'gpt-5'; there is smollm2-135m-instruct\n")
