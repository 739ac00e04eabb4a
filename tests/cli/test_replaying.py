"""``omium test replay`` on a data directory: what it prints, and what it exits with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from omium.cli.app import app
from omium.cli.starting import write_starter
from omium.definitions import load_workflow
from omium.llm.providers import Provider
from omium.testing import Answer, InProcessRuntime, Rule, ScriptedProvider
from omium.testing.replay import fresh_modules


@pytest.fixture
def settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project with no settings but its own, whose code is compiled anew at each change."""
    write_starter("python", tmp_path)
    for name in ("OMIUM_CONFIG", "OMIUM_DATA_DIR", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    monkeypatch.chdir(tmp_path)
    yield tmp_path


async def recorded(project: Path) -> str:
    """The id of an execution in the project's data directory."""
    workflow = load_workflow(project / "workflow.yaml").model_copy(update={"model": "openai/small"})
    async with ScriptedProvider([Rule(answer=Answer(content="It is wet."))]) as provider:
        providers = {"openai": Provider(name="openai", base_url=provider.base_url)}
        async with InProcessRuntime(
            project / ".omium", providers=providers, blobs_url=str(project / ".omium" / "blobs")
        ) as runtime:
            client = runtime.client
            execution = await client.submit(
                workflow, {"topic": "rain"}, import_paths=(str(project),)
            )
            assert await client.result(execution, timeout_s=30)
            return execution


def replayed(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["test", "replay", *arguments])


async def execution_of(project: Path) -> str:
    with fresh_modules((str(project),)):
        return await recorded(project)


def test_the_same_exits_with_0_and_a_change_with_9(settled: Path) -> None:
    execution = asyncio.run(execution_of(settled))
    same = replayed("last")
    assert same.exit_code == 0, same.output
    assert same.stdout == f"{execution}: same (1 step, 1 LLM call, 1 tool call)\n"

    code = settled / "note_agent.py"
    code.write_text(code.read_text().replace('"words": words', '"words": words + 1'))
    differs = replayed(execution, "--offline")
    assert differs.exit_code == 9
    assert differs.stdout.splitlines() == [
        f"{execution}: differs (1 step, 1 LLM call, 1 tool call)",
        "  outputs.writer.words: 3 → 4",
    ]
    shown = replayed(execution, execution, "--offline", "--json")
    document: Any = json.loads(shown.stdout)
    assert (shown.exit_code, document["same"], document["different"]) == (9, 0, 2)
    assert document["replays"][0]["differences"] == [
        {"where": "outputs.writer.words", "before": 3, "after": 4}
    ]

    asked = replayed(execution, "--offline", "--set", "inputs.topic=tea")
    assert asked.exit_code == 9
    assert "not asked: openai/small of writer step 0" in asked.stdout
    assert "rain" in asked.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("ex_none",), "nothing has run in this data directory"),
        (("last", "--tools", "some"), "expected recorded or live"),
    ],
)
def test_what_cannot_be_replayed(settled: Path, arguments: tuple[str, ...], told: str) -> None:
    (settled / ".omium").mkdir()
    result = replayed(*arguments)
    assert result.exit_code == 2
    assert told in result.stderr
