"""Every example of the documentation is one that Omium takes."""

from __future__ import annotations

import ast
import os
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

import omium
from omium.config import Settings, load_settings
from omium.definitions import Workflow, parse_workflow
from omium.frameworks.registry import FRAMEWORKS
from omium.llm.providers import openai_provider
from omium.testing.runtime import InProcessRuntime
from omium.testing.scripted import Answer, Rule, ScriptedProvider
from tests.docs.pages import PAGES, ROOT, Block, blocks

GUIDE = ROOT / "docs" / "guide.md"

_ELSEWHERE = {"openai_api_key", "openai_base_url", "ray_address", "faults"}
"""Settings that have no place in a file: read under other names, or for tests only."""

_SECRET = {"s3.access_key", "s3.secret_key"}


def every(*languages: str) -> list[Any]:
    return [pytest.param(b, id=b.where) for page in PAGES for b in blocks(page, *languages)]


def parsed(block: Block) -> Workflow:
    return parse_workflow(block.text, block.where, frameworks=FRAMEWORKS)


@pytest.mark.parametrize("block", every("yaml"))
def test_yaml_is_a_workflow(block: Block) -> None:
    parsed(block)


@pytest.mark.parametrize("block", every("python"))
def test_python_compiles_and_names_what_there_is(block: Block) -> None:
    tree = ast.parse(block.text, block.where)
    compile(tree, block.where, "exec")
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module), names=names) if module.startswith("omium"):
                for name in names:
                    assert hasattr(import_module(module), name.name), f"{module}.{name.name}"
            case ast.Attribute(value=ast.Name(id="omium"), attr=name):
                assert hasattr(omium, name), f"omium.{name}"
            case _:
                pass


@pytest.mark.parametrize("block", every("toml"))
def test_toml_is_a_configuration(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in os.environ if n.startswith("OMIUM_")]:
        monkeypatch.delenv(name)
    file = tmp_path / "omium.toml"
    file.write_text(block.text, encoding="utf-8")
    monkeypatch.setenv("OMIUM_CONFIG", str(file))
    load_settings()


def test_the_guide_has_every_setting() -> None:
    (block,) = blocks(GUIDE, "toml")
    given = tomllib.loads(block.text)
    expected = set(Settings.model_fields) - _ELSEWHERE
    assert set(given) == expected
    for table in ("s3", "ray", "pool", "service", "embedded"):
        kind: Any = Settings.model_fields[table].annotation
        names = {f"{table}.{name}" for name in kind.model_fields} - _SECRET
        assert {f"{table}.{name}" for name in given[table]} == names


@pytest.fixture
def guide_modules(tmp_path: Path) -> Iterator[Path]:
    """The modules of the guide as files, under the names that their first lines give."""
    before, known = list(sys.path), set(sys.modules)
    for block in blocks(GUIDE, "python"):
        first = block.text.partition("\n")[0]
        if first.startswith("# ") and first.endswith(".py"):
            file = tmp_path / first.removeprefix("# ")
            file.parent.mkdir(exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
    yield tmp_path
    sys.path[:] = before
    for name in (
        "topic_writer", "accounting", "accounting.booking", "research_crew", "analyst_graph",
        "haiku_pair",
    ):  # fmt: skip
        if name not in known:
            sys.modules.pop(name, None)


async def test_the_plain_agent_of_the_guide_runs(guide_modules: Path, tmp_path: Path) -> None:
    (workflow,) = (w for w in map(parsed, blocks(GUIDE, "yaml")) if w.name == "topics")
    answers = [Rule(answer=Answer(content="It is wet."))]
    with ScriptedProvider(answers) as provider:
        openai = openai_provider(api_key=SecretStr("k"), base_url=provider.base_url)
        async with InProcessRuntime(tmp_path / "data", providers={"openai": openai}) as runtime:
            execution = await runtime.client.submit(
                workflow, {"topics": ["rivers", "rain"]}, import_paths=(str(guide_modules),)
            )
            result = await runtime.client.result(execution, timeout_s=30)
            view = await runtime.client.view(execution)
    assert result == {"lines": ["It is wet.", "It is wet."]}
    assert (view.row.checkpoints, provider.received) == (2, 2)


@pytest.mark.langgraph
@pytest.mark.xdist_group("langgraph")
async def test_the_graph_of_the_guide_runs(guide_modules: Path, tmp_path: Path) -> None:
    from tests.frameworks.langgraph_stage import graph_stage

    (workflow,) = (w for w in map(parsed, blocks(GUIDE, "yaml")) if w.name == "answers")
    async with graph_stage(tmp_path / "data") as s:
        execution = await s.client.submit(
            workflow, {"question": "Why?"}, import_paths=(str(guide_modules),)
        )
        assert await s.result(execution) == (
            "echo: Why? Earlier drafts: ['echo: Why? Earlier drafts: []', "
            "\"echo: Why? Earlier drafts: ['echo: Why? Earlier drafts: []']\"]"
        )
        assert s.provider.received == 3


@pytest.mark.langgraph
@pytest.mark.xdist_group("langgraph")
def test_the_checkpointer_of_the_guide_keeps_a_thread(tmp_path: Path) -> None:
    (block,) = (b for b in blocks(GUIDE, "python") if "OmiumSaver(" in b.text)
    known: dict[str, Any] = {"__name__": "guide"}
    exec(block.text.replace("/var/lib/my-app/checkpoints", str(tmp_path)), known)
    config = {"configurable": {"thread_id": "t"}}
    assert known["graph"].invoke({"n": 1}, config, durability="sync") == {"n": 2}
    assert known["graph"].get_state(config).values == {"n": 2}


@pytest.mark.crewai
@pytest.mark.xdist_group("crewai")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:crewai")
async def test_the_judge_of_the_guide_votes(tmp_path: Path) -> None:
    from tests.frameworks.crewai_stage import crew_stage, in_turn

    (workflow,) = (w for w in map(parsed, blocks(GUIDE, "yaml")) if w.name == "edited")
    against = {"reason": "it says nothing", "ballot": "against"}
    in_favour = {"reason": "it is wet", "ballot": "for"}
    said: tuple[Any, ...] = ("Rain is many things.", against, "Rain is wet.", in_favour, "RAIN")
    async with crew_stage(tmp_path / "data", in_turn(*(Answer(content=x) for x in said))) as s:
        execution = await s.submit(workflow, {"topic": "rain"})
        assert await s.result(execution) == "RAIN"
        (handoff,) = (await s.client.view(execution)).handoffs
    assert [(v.validator, v.ballot, v.reason) for v in handoff.votes] == [
        ("editor", "for", "it is wet")
    ]


@pytest.mark.autogen
@pytest.mark.xdist_group("autogen")
# AutoGen expects the model to have the name that OpenAI gives it.
@pytest.mark.filterwarnings("ignore:Resolved model mismatch:UserWarning")
async def test_the_team_of_the_guide_runs(
    guide_modules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.frameworks.autogen_stage import says, team_stage

    (workflow,) = (w for w in map(parsed, blocks(GUIDE, "yaml")) if w.name == "haiku")
    async with team_stage(tmp_path / "data", says("Rain, rain.", "APPROVE")) as s:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{s.runtime.gateway_url}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", f"{s.runtime.api_key}.worker")
        execution = await s.client.submit(
            workflow, {"topic": "rain"}, import_paths=(str(guide_modules),)
        )
        assert await s.result(execution) == "Rain, rain."
        assert s.provider.received == 2


def test_the_tool_of_the_guide_books_once_a_key(guide_modules: Path) -> None:
    from omium.frameworks.effect import effect
    from omium.frameworks.entrypoints import load_entrypoint

    book = load_entrypoint("accounting.booking:book", (str(guide_modules),))
    with effect("one"):
        assert book(7, 12.0) == book(7, 12.0) == {"booking": 1}
    with effect("two"):
        assert book(7, 12.0) == {"booking": 2}
