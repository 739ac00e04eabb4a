"""What counts as an edit, and that none is missed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from omium.cli.edits import SETTLED_MS, Edit, Edits
from omium.config import Settings
from omium.errors import InputError, OmiumError, Unavailable
from omium.runtime.prepare import Prepared, prepare

pytestmark = pytest.mark.timeout(120)

AGENT = {"name": "a", "framework": "python", "entrypoint": "edited.deep:act"}


def project(folder: Path, **changes: Any) -> Path:
    """The file of a workflow whose code is beside it."""
    path = folder / "flows" / "workflow.json"
    path.parent.mkdir(exist_ok=True)
    saved = folder / "workflow.saved"
    saved.write_text(json.dumps({"name": "edited", "version": "1", "agents": [AGENT]} | changes))
    saved.replace(path)
    return path


def edits_of(workflow: Path, leave_out: Path) -> Edits:
    settings = Settings(data_dir=leave_out, models_dir=leave_out)

    def read() -> Prepared:
        return prepare(workflow, {}, settings)

    return Edits(read, [workflow], leave_out=[leave_out])


async def after(edits: Edits, act: Callable[[], object]) -> Edit:
    """The edit that something leads to, and no other before it."""
    coming = asyncio.create_task(edits.next())
    await asyncio.sleep(0)
    assert not coming.done()
    act()
    return await coming


async def test_each_thing_that_is_run_is_watched(tmp_path: Path) -> None:
    workflow = project(tmp_path)
    code = workflow.parent / "edited"
    state = workflow.parent / "state"
    for made in (code, state):
        made.mkdir()
    (code / "deep.py").write_text("def act(context): ...\n")
    edits = edits_of(workflow, state)
    async with edits.watching():
        first = await edits.next()
        assert (first.changed, isinstance(first.reading, Prepared)) == ((), True)

        # Saved as it was; and a watch that has settled has everything read again.
        (code / "deep.py").touch()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(edits.next(), 2 * SETTLED_MS / 1000)

        version = await after(edits, lambda: project(tmp_path, version="2"))
        # Its file is among those that are packed.
        assert version.changed == ("the definition", "the code (changed workflow.json)")

        # Below a folder that was not there when the watch began.
        def deeper() -> None:
            (state / "replica").write_text("grows")
            (code / "more").mkdir()
            (code / "more" / "new.py").write_text("X = 1\n")

        more = await after(edits, deeper)
        assert more.changed == ("the code (added edited/more/new.py)",)

        broken = await after(edits, lambda: project(tmp_path, version=""))
        assert broken.changed == ("the definition",)
        assert isinstance(broken.reading, OmiumError)
        mended = await after(edits, lambda: project(tmp_path, version="2"))
        assert isinstance(mended.reading, Prepared)


async def test_code_that_comes_later_is_watched_from_then_on(tmp_path: Path) -> None:
    workflow = project(tmp_path)
    edits = edits_of(workflow, tmp_path / "state")
    async with edits.watching():
        await edits.next()
        code = workflow.parent / "edited"

        def come() -> None:
            made = tmp_path / "made"
            made.mkdir()
            (made / "deep.py").write_text("def act(context): ...\n")
            made.rename(code)

        assert (await after(edits, come)).changed == ("the code",)

        def change() -> None:
            saved = tmp_path / "deep.saved"
            saved.write_text("def act(context): return 1\n")
            saved.replace(code / "deep.py")

        changed = await after(edits, change)
        assert changed.changed == ("the code (changed edited/deep.py)",)


async def test_what_cannot_be_watched_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        async with edits_of(tmp_path / "nowhere" / "workflow.yaml", tmp_path).watching():
            pass

    async def awatch(*_: Any, **__: Any) -> AsyncIterator[None]:
        raise OSError("OS file watch limit reached")
        yield

    monkeypatch.setattr("omium.cli.edits.awatch", awatch)
    async with edits_of(tmp_path / "workflow.yaml", tmp_path / "state").watching() as edits:
        with pytest.raises(Unavailable, match="watch limit reached"):
            await edits.next()
