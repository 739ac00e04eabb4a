"""Replays of recorded executions: what is answered from the record, and what differs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from omium.runtime.located import Located, located
from omium.testing import (
    Answer,
    ErrorAnswer,
    Recording,
    Rule,
    ScriptedProvider,
    When,
    atry_workflow,
)
from omium.testing.replay import Replay, fresh_modules, replay
from omium.testing.trial import ScriptedRouter

CODE = """
from openai import AsyncOpenAI


def send(to, text):
    with open({log!r}, "a") as log:
        log.write(to + "\\n")
    if to == "nobody":
        raise ValueError("no such person")
    return {{"sent": len(text)}}


async def write(context):
    said = []
    async with AsyncOpenAI() as client:
        for question in {questions!r}:
            answer = await client.chat.completions.create(
                model="openai/small", messages=[{{"role": "user", "content": question}}]
            )
            said.append(answer.choices[0].message.content)
            await context.checkpoint(said, name=question)
    try:
        sent = await context.call_tool("send", to={to!r}, text=said[0])
    except Exception as error:
        sent = str(error)
    return {{"said": said, "sent": sent}}
"""
RULES = [
    Rule(when=When(contains="one"), answer=Answer(content="1", prompt_tokens=5)),
    Rule(when=When(contains="two"), answer=Answer(content="2", prompt_tokens=7)),
]


class Project:
    """A workflow in a folder whose code is changed, and the log of what its tool did."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        (folder / "workflow.json").write_text(
            '{"name": "mail", "version": "1",'
            ' "tools": [{"name": "send", "function": "mailing:send"}],'
            ' "agents": [{"name": "writer", "framework": "python",'
            ' "entrypoint": "mailing:write", "tools": ["send"]}]}'
        )

    def write(self, *questions: str, to: str = "ada") -> None:
        text = CODE.format(log=str(self.log), questions=questions, to=to)
        (self.folder / "mailing.py").write_text(text)

    @property
    def located(self) -> Located:
        found = located(self.folder / "workflow.json")
        return Located(workflow=found.workflow, import_paths=(str(self.folder),))

    @property
    def sent(self) -> list[str]:
        return self.log.read_text().split() if self.log.exists() else []

    async def record(
        self, *questions: str, to: str = "ada", rules: Sequence[Rule] = RULES
    ) -> Recording:
        self.write(*questions, to=to)
        with fresh_modules((str(self.folder),)):
            return await atry_workflow(self.folder / "workflow.json", rules=rules)

    async def replay(
        self, recorded: Recording, rules: Sequence[Rule] = (), **options: Any
    ) -> tuple[Replay, int]:
        """The replay, and how many requests reached the provider."""
        async with ScriptedProvider(rules) as provider:
            router = partial(ScriptedRouter, provider.base_url)
            done = await replay(recorded, self.located, model="", router=router, **options)
            return done, provider.received


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    # The same file is written twice in a second: its compiled form must not be believed.
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    yield Project(tmp_path)


def told(done: Replay) -> list[tuple[str, str]]:
    return [(one.kind, one.name) for one in done.divergences]


async def test_nothing_differs_and_nothing_is_asked_or_done(project: Project) -> None:
    recorded = await project.record("one", "two")
    assert (project.sent, recorded.result) == (["ada"], {"said": ["1", "2"], "sent": {"sent": 1}})
    done, asked = await project.replay(recorded)
    assert done.same, (done.differences, done.divergences)
    assert (asked, project.sent) == (0, ["ada"])
    assert done.replayed.usage == recorded.usage
    assert done.replayed.usage.prompt_tokens == 12


async def test_a_changed_prompt_is_asked_anew_and_what_differs_is_told(project: Project) -> None:
    recorded = await project.record("one", "two")
    project.write("one", "two, please")
    rules = [Rule(answer=Answer(content="zwei", prompt_tokens=9))]
    done, asked = await project.replay(recorded, rules)
    assert asked == 1
    found = {one.where: (one.before, one.after) for one in done.differences}
    assert found["outputs.writer.said.1"] == ("2", "zwei")
    assert found["figures.prompt_tokens"] == (12, 14)
    assert found["steps.writer"] == (["one", "two"], ["one", "two, please"])
    (one,) = done.divergences
    assert (one.kind, one.agent, one.step) == ("asked_anew", "writer", "1")
    assert one.detail == 'request.messages.0.content: "two" → "two, please"'


async def test_offline_nobody_is_asked(project: Project) -> None:
    recorded = await project.record("one", "two")
    project.write("one", "three")
    done, asked = await project.replay(recorded, offline=True)
    assert asked == 0
    assert told(done)[0] == ("not_asked", "openai/small")
    assert done.replayed.status == "failed"
    assert done.replayed.failure is not None
    assert "not on record" in done.replayed.failure.message
    assert {"status", "outputs.writer", "figures.steps"} <= {d.where for d in done.differences}
    # It came to the tool no more.
    assert told(done)[1:] == [("not_made", "send")]


async def test_a_tool_that_is_called_otherwise_does_not_act(project: Project) -> None:
    recorded = await project.record("one")
    project.write("one", to="grace")
    done, _ = await project.replay(recorded)
    assert project.sent == ["ada"]
    assert told(done) == [("not_run", "send")]
    assert done.divergences[0].detail == 'request.to: "ada" → "grace"'
    sent = done.replayed.outputs["writer"]["sent"]  # type: ignore[index,call-overload]
    assert "no result of this call is on record" in str(sent)


async def test_tools_act_where_that_is_asked_for(project: Project) -> None:
    recorded = await project.record("one")
    done, _ = await project.replay(recorded, tools="live")
    assert done.same
    assert project.sent == ["ada", "ada"]


async def test_a_tool_that_failed_fails_in_the_same_words(project: Project) -> None:
    recorded = await project.record("one", to="nobody")
    done, _ = await project.replay(recorded)
    assert done.same, done.differences
    assert project.sent == ["nobody"]
    assert "ValueError: no such person" in str(done.replayed.outputs["writer"])


async def test_a_call_less_is_told(project: Project) -> None:
    recorded = await project.record("one", "two")
    project.write("one")
    done, asked = await project.replay(recorded)
    assert (asked, told(done)) == (0, [("not_made", "openai/small")])


async def test_equal_requests_get_their_answers_in_order(project: Project) -> None:
    rules = [Rule(answer=Answer(content=text), times=1) for text in ("a", "b")]
    recorded = await project.record("one", "one", rules=rules)
    done, _ = await project.replay(recorded)
    assert done.replayed.outputs == recorded.outputs
    assert "['a', 'b']" in str(recorded.outputs)


async def test_a_provider_that_failed_is_asked_again(project: Project) -> None:
    refused = [Rule(answer=Answer(error=ErrorAnswer(status=400)))]
    recorded = await project.record("one", rules=refused)
    done, asked = await project.replay(recorded, [Rule(answer=Answer(content="1"))])
    assert (asked, done.replayed.status) == (1, "completed")
    assert next(iter(done.differences)).where == "status"
