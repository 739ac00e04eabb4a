"""CrewAI's human input, asked of whoever answers for the execution.

A task with ``human_input`` shows its answer and takes feedback, round by round, until there is
none. Each round is a question of the journal; what the model said before is not asked again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from crewai.core.providers.human_input import (
    SyncHumanInputProvider,
    reset_provider,
    set_provider,
)

from omium.execution.records import Question
from omium.frameworks.protocol import Session

ANSWER_CHARS_MAX = 8_000


@contextmanager
def asks_durably(session: Session) -> Iterator[None]:
    """Crews that run inside ask through ``session``."""
    token = set_provider(_Feedback(session))
    try:
        yield
    finally:
        reset_provider(token)


class _Feedback(SyncHumanInputProvider):
    def __init__(self, session: Session) -> None:
        self._session = session

    def handle_feedback(self, formatted_answer: Any, context: Any) -> Any:
        answer = formatted_answer
        while context.ask_for_human_input:
            said: Any = self._session.blocking.ask(self._question(answer, context))
            if not self._goes_on(said, context):
                break
            answer = context._invoke_loop()
        return answer

    async def handle_feedback_async(self, formatted_answer: Any, context: Any) -> Any:
        answer = formatted_answer
        while context.ask_for_human_input:
            said: Any = await self._session.ask(self._question(answer, context))
            if not self._goes_on(said, context):
                break
            answer = await context._ainvoke_loop()
        return answer

    def _question(self, answer: Any, context: Any) -> Question:
        text = self._get_output_string(answer)
        if len(text) > ANSWER_CHARS_MAX:
            text = text[: ANSWER_CHARS_MAX - 1] + "…"
        task = context.task.name if context.task is not None else None
        return Question(
            text=f"Feedback on the answer of task {task or '?'!r}, empty to take it: {text}",
            schema={"type": "string"},
        )

    def _goes_on(self, said: str, context: Any) -> bool:
        if not said.strip():
            context.ask_for_human_input = False
            return False
        context.messages.append(context._format_feedback_message(said))
        return True
