"""A graph, a crew and a team of the user's own: the snippets of the page, run."""

from __future__ import annotations

from pathlib import Path

import pytest

from omium.frameworks.registry import FRAMEWORKS
from omium.testing import Answer, Recording, Rule, When, try_workflow
from omium.testing.replay import fresh_modules
from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs" / "bring-your-own.md"
LINES_MAX = 5


def ran(name: str, folder: Path, inputs: dict[str, str], rules: list[Rule]) -> Recording:
    """The workflow of that name, as the page has it, with the module beside it."""
    (workflow,) = (b for b in blocks(PAGE, "yaml") if b.text.startswith(f"name: {name}\n"))
    assert len(workflow.text.splitlines()) <= LINES_MAX
    assert workflow.text in [b.text for b in blocks(ROOT / "README.md", "yaml")]
    (folder / "workflow.yaml").write_text(workflow.text, encoding="utf-8")
    for block in blocks(PAGE, "python"):
        first = block.text.partition("\n")[0].removeprefix("# ")
        (folder / first).write_text(block.text, encoding="utf-8")
    with fresh_modules((str(folder),)):
        return try_workflow(folder / "workflow.yaml", inputs, rules=rules)  # type: ignore[arg-type]


@pytest.mark.langgraph
@pytest.mark.xdist_group("langgraph")
def test_the_graph(tmp_path: Path) -> None:
    run = ran("my-graph", tmp_path, {"question": "Why?"}, [Rule(answer=Answer(content="So."))])
    assert (run.result, [step.name for step in run.steps]) == ("So.", ["answer"])


@pytest.mark.crewai
@pytest.mark.xdist_group("crewai")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:crewai")
def test_the_crew(tmp_path: Path) -> None:
    rules = [Rule(when=When(any_contains="One line on rain."), answer=Answer(content="It is wet."))]
    run = ran("my-crew", tmp_path, {"topic": "rain"}, rules)
    assert (run.result, len(run.steps)) == ("It is wet.", 1)


@pytest.mark.autogen
@pytest.mark.xdist_group("autogen")
@pytest.mark.filterwarnings("ignore:Resolved model mismatch:UserWarning")
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")
def test_the_team(tmp_path: Path) -> None:
    rules = [Rule(answer=Answer(content=text), times=1) for text in ("Rain, rain.", "APPROVE")]
    run = ran("my-team", tmp_path, {"topic": "rain"}, rules)
    assert run.result == "Rain, rain."
    assert [step.name for step in run.steps] == ["poet", "critic"]


def test_every_framework_is_there() -> None:
    text = "".join(block.text for block in blocks(PAGE, "yaml"))
    assert all(f"framework: {name}" in text for name in FRAMEWORKS if name != "python")
