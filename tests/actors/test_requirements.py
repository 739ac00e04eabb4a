"""What the user's code requires: installed beside the environment, never over it."""

from __future__ import annotations

import hashlib
import importlib
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from omium.actors.requirements import install
from omium.errors import RequirementsError
from tests.actors.wheels import wheel

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(autouse=True)
def _path_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


async def test_what_is_there_stays_and_the_rest_is_added(tmp_path: Path) -> None:
    # Neither is asked of an index: one is there, and what the other wants of it fits.
    made = wheel(tmp_path, "omium_tried_a", "VALUE = 'one'", requires=["pydantic>=2"])
    digest = hashlib.sha256(made.read_bytes()).hexdigest()
    wanted = [f"omium_tried_a @ {made.as_uri()}#sha256={digest}", "pydantic>=2"]
    folder = await install(wanted, (), tmp_path / "place")
    assert sys.path[-1] == folder
    assert importlib.import_module("omium_tried_a").VALUE == "one"
    assert not (Path(folder) / "pydantic").exists()


async def test_a_requirements_file_lies_with_the_code(tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    wheel(code, "omium_tried_b", "VALUE = 'two'")
    (code / "wanted.txt").write_text("# beside the code\n./omium_tried_b-1.0-py3-none-any.whl\n")
    await install(["wanted.txt"], [str(tmp_path / "nowhere"), str(code)], tmp_path / "place")
    assert importlib.import_module("omium_tried_b").VALUE == "two"
    with pytest.raises(RequirementsError, match=r"there is no file 'other\.txt'"):
        await install(["other.txt"], [str(code)], tmp_path / "other")


async def test_another_version_of_what_is_there_is_refused(tmp_path: Path) -> None:
    there = version("pydantic")
    with pytest.raises(RequirementsError, match=f"'pydantic<2' .* has {there}"):
        await install(["pydantic<2"], (), tmp_path / "one")
    made = wheel(tmp_path, "omium_tried_c", "", requires=["pydantic<2", "never>1; extra == 'x'"])
    before = list(sys.path)
    with pytest.raises(RequirementsError, match=r"omium_tried_c 1\.0: 'pydantic<2'"):
        await install([f"omium_tried_c @ {made.as_uri()}"], (), tmp_path / "two")
    assert sys.path == before


async def test_what_uv_says_is_told_and_its_time_is_bounded(tmp_path: Path) -> None:
    missing = tmp_path / "omium_tried_d-1.0-py3-none-any.whl"
    with pytest.raises(RequirementsError, match=r"not found at:\s+file:///.*tried_d"):
        await install([f"omium_tried_d @ {missing.as_uri()}"], (), tmp_path / "one")
    made = wheel(tmp_path, "omium_tried_e", "")
    other = f"omium_tried_e @ {made.as_uri()}#sha256={'0' * 64}"
    with pytest.raises(RequirementsError, match="Hash mismatch"):
        await install([other], (), tmp_path / "two")
    with pytest.raises(RequirementsError, match=r"not installed within 0\.001 s"):
        await install([f"omium_tried_e @ {made.as_uri()}"], (), tmp_path / "three", limit_s=0.001)
