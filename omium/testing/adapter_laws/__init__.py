"""The adapter laws: what a framework's adapter has to pass to be supported.

Subclass ``AdapterLaws`` in a test module and override its fixture ``subject``:

    class TestMine(AdapterLaws):
        @pytest.fixture
        def subject(self) -> Subject:
            return Subject(framework="mine", adapter=MyAdapter, ...)

Each law is stated once, in ``laws``, and runs on the real runtime in one process, with a scripted
model. See ``docs/adapters.md``. Needs pytest, with pytest-asyncio in auto mode.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from omium.testing.adapter_laws.bench import Bench
from omium.testing.adapter_laws.laws import LAWS, Law, NotApplicable
from omium.testing.adapter_laws.subject import AgentFields, Subject

__all__ = ["LAWS", "AdapterLaws", "AgentFields", "Bench", "Law", "NotApplicable", "Subject"]


class AdapterLaws:
    """All laws, for one subject. ``every_point`` loses the worker at every point of a journal,
    and not only at one of each kind."""

    every_point = False

    @pytest.fixture
    def subject(self) -> Subject:
        """The framework on trial. To be overridden."""
        raise NotImplementedError("override the fixture 'subject' of AdapterLaws")

    @pytest.mark.timeout(300)
    @pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
    async def test_law(self, law: Law, subject: Subject, tmp_path: Path) -> None:
        try:
            await law(Bench(subject, tmp_path, every_point=self.every_point))
        except NotApplicable as reason:
            pytest.skip(str(reason))
