"""Every law can fail: adapters that are wrong in one way each, and the law that says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from omium.errors import Asked, OmiumError, ToolError
from omium.frameworks.plain import PlainAdapter
from omium.testing.adapter_laws import Bench, laws
from omium.types import Json
from tests.frameworks.laws import plain


class Bent:
    """A session that does one thing wrong."""

    def __init__(self, session: Any) -> None:
        self.session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)


class KeepsNothing(Bent):
    async def complete_step(self, step: str, state: Json, name: str = "") -> None:
        """No checkpoint."""


class StartsOver(Bent):
    @property
    def assignment(self) -> Any:
        return replace(self.session.assignment, saved=None, steps=())


class ForgetsWhatWasSaid(Bent):
    async def complete_step(self, step: str, state: Any, name: str = "") -> None:
        await self.session.complete_step(step, ["" for _ in state], name)


class HasOneStep(Bent):
    def enter_step(self, step: str) -> None:
        self.session.enter_step("0")


class RunsToolsItself(Bent):
    async def call_tool(self, name: str, arguments: Json, run: Any, *, idempotent: bool) -> Json:
        return await run("")


class TakesAllForIdempotent(Bent):
    async def call_tool(self, name: str, arguments: Json, run: Any, *, idempotent: bool) -> Json:
        return await self.session.call_tool(name, arguments, run, idempotent=True)


class AnswersForPeople(Bent):
    """Asks nobody: a tool that has to is told something."""

    async def call_tool(self, name: str, arguments: Json, run: Any, *, idempotent: bool) -> Json:
        try:
            return await self.session.call_tool(name, arguments, run, idempotent=idempotent)
        except Asked:
            return "the answer is blue"


class TriesToolsAgain(Bent):
    async def call_tool(self, name: str, arguments: Json, run: Any, *, idempotent: bool) -> Json:
        try:
            return await self.session.call_tool(name, arguments, run, idempotent=idempotent)
        except ToolError:
            return await self.session.call_tool(name, arguments, run, idempotent=idempotent)


def bent(kind: type[Bent]) -> type[PlainAdapter]:
    class Adapter(PlainAdapter):
        async def run(self, session: Any) -> Json:
            bent_session: Any = kind(session)
            return await super().run(bent_session)

    return Adapter


class RemembersInputs(PlainAdapter):
    """Has a state between attempts."""

    def __init__(self) -> None:
        self.inputs: Any = None

    async def run(self, session: Any) -> Json:
        self.inputs = self.inputs or session.assignment.inputs
        kept: Any = Bent(session)
        kept.assignment = replace(session.assignment, inputs=self.inputs)
        return await super().run(kept)


class HidesFailures(PlainAdapter):
    async def run(self, session: Any) -> Json:
        try:
            return await super().run(session)
        except Exception:  # noqa: BLE001 - the breakage
            return "all is well"


class CannotBeStopped(PlainAdapter):
    async def run(self, session: Any) -> Json:
        try:
            return await super().run(session)
        except asyncio.CancelledError:
            await asyncio.sleep(laws.CANCEL_S + 1)
            raise


BREAKAGES: list[tuple[type[PlainAdapter], laws.Law]] = [
    (bent(KeepsNothing), laws.each_step_is_a_checkpoint),
    (bent(StartsOver), laws.a_loss_changes_nothing),
    (bent(ForgetsWhatWasSaid), laws.a_loss_changes_nothing),
    (bent(ForgetsWhatWasSaid), laws.streamed_answers_are_kept),
    (bent(HasOneStep), laws.equal_questions_of_different_steps_are_each_asked),
    (bent(RunsToolsItself), laws.a_tool_runs_once_in_effect),
    (bent(TakesAllForIdempotent), laws.an_unknown_outcome_waits_for_a_decision),
    (bent(TriesToolsAgain), laws.a_tool_that_failed_is_told_to_its_agent),
    (bent(AnswersForPeople), laws.a_question_waits_for_its_answer),
    (RemembersInputs, laws.the_past_is_forced_and_a_change_takes_hold),
    (HidesFailures, laws.a_failed_step_is_tried_again_from_its_checkpoint),
    (CannotBeStopped, laws.a_cancelled_agent_stops),
]


async def test_a_subject_that_streams_nothing_is_told(tmp_path: Path) -> None:
    subject = replace(plain.subject(), streaming=plain.subject().steps)
    with pytest.raises(AssertionError, match="nothing is streamed"):
        await laws.streamed_answers_are_kept(Bench(subject, tmp_path))


@pytest.mark.parametrize(
    ("adapter", "law"),
    BREAKAGES,
    ids=[f"{n}-{law.__name__}" for n, (_, law) in enumerate(BREAKAGES)],
)
async def test_a_wrong_adapter_breaks_its_law(
    tmp_path: Path, adapter: Callable[[], PlainAdapter], law: laws.Law
) -> None:
    with pytest.raises((AssertionError, OmiumError)):
        await law(Bench(plain.subject(adapter), tmp_path, every_point=False))


def test_every_law_that_plain_python_knows_is_broken_by_one() -> None:
    left = set(laws.LAWS) - {law for _, law in BREAKAGES}
    assert {law.__name__ for law in left} == {"branches_are_told_apart"}
