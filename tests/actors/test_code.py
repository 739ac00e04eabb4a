"""Executions run on the code that they were pinned to, whatever becomes of the folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from omium.actors.supervision import binding_of
from omium.definitions import workflow_from
from omium.errors import ExecutionFailed
from omium.execution.blobref import BlobRef
from omium.execution.events import Created
from omium.execution.records import CodeRef
from omium.storage.code_bundle import pack
from omium.types import TenantId
from tests.actors.stage import stage

FLOW = workflow_from(
    {
        "name": "pinned",
        "version": "1",
        "agents": [{"name": "a", "framework": "python", "entrypoint": "pinned_agent:act"}],
    }
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "pinned_agent", raising=False)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "pinned_agent.py").write_text(
        "from pathlib import Path\n\nasync def act(context):\n    return ['old', __file__]\n"
    )
    return tmp_path / "code"


async def test_the_folder_may_change_or_go(tmp_path: Path, folder: Path) -> None:
    async with stage(tmp_path / "data") as s:
        code = await s.client.put_code(pack((folder,)))
        assert code == await s.client.put_code(pack((folder,)))
        (folder / "pinned_agent.py").unlink()
        execution = await s.submit(FLOW, code=code, import_paths=(str(folder),))
        result: Any = await s.result(execution)
        assert result[0] == "old"
        assert Path(result[1]).is_relative_to(tmp_path / "data" / "code")
        (entry,) = await s.client.entries(execution, limit=1)
        assert isinstance(entry.event, Created)
        assert entry.event.code == code
        worker = (await s.client.runtime()).workers[0]
        assert worker.binding == binding_of(s.client.tenant, FLOW.digest, code, "a")
        # A fork is pinned to the same, unless it is given other code.
        forked = await s.client.fork(execution, 1)
        assert (await s.result(forked))[0] == "old"  # type: ignore[index]
        (folder / "pinned_agent.py").write_text("async def act(context):\n    return ['new']\n")
        new = await s.client.put_code(pack((folder,)))
        # Another process would import it anew; here all workers are in one.
        del sys.modules["pinned_agent"]
        forked = await s.client.fork(execution, 1, code=new)
        assert await s.result(forked) == ["new"]


async def test_code_that_is_damaged_is_not_run(tmp_path: Path, folder: Path) -> None:
    blobs = tmp_path / "blobs"
    async with stage(tmp_path / "data", blobs_url=str(blobs)) as s:
        code = await s.client.put_code(pack((folder,)))
        (stored,) = [path for path in blobs.rglob("*") if path.is_file()]
        content = bytearray(stored.read_bytes())
        content[-1] ^= 1
        stored.chmod(0o600)
        stored.write_bytes(content)
        execution = await s.submit(FLOW, code=code)
        with pytest.raises(ExecutionFailed) as failed:
            await s.result(execution)
        assert failed.value.failure_kind == "corrupt_blob"


def test_two_versions_of_code_never_share_a_process() -> None:
    def code(digest: str) -> CodeRef:
        return CodeRef(blob=BlobRef(digest=digest, size=1), files=1)

    tenant = TenantId("t")
    bindings = {binding_of(tenant, "sha256:d", c, "a") for c in (None, code("x"), code("y"))}
    assert len(bindings) == 3
    assert binding_of(tenant, "sha256:d", code("x"), "a") in bindings
