"""Which code a workflow is made of, and whether other code has all that it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from omium.definitions import Workflow, workflow_from
from omium.errors import InputError
from omium.serve.shipping import check_new_code, code_of
from omium.storage.code_bundle import pack


def workflow(entrypoint: str = "mine:act", tool: str = "mine:tool") -> Workflow:
    agent: dict[str, Any] = {"name": "a", "framework": "python", "entrypoint": entrypoint}
    return workflow_from(
        {
            "name": "w",
            "version": "1",
            "tools": [{"name": "t", "function": tool}],
            "agents": [agent],
        }
    )


def folder(path: Path, **modules: str) -> Path:
    path.mkdir(exist_ok=True)
    for name, text in modules.items():
        (path / f"{name}.py").write_text(text)
    return path


MINE = "def act(context): ...\ndef tool(): ...\n"


def test_the_folders_that_have_the_modules_are_taken(tmp_path: Path) -> None:
    one, two = folder(tmp_path / "one", mine=MINE), folder(tmp_path / "two", other=MINE)
    (one / "data").mkdir()
    (one / "data" / "replica").write_text("grows")
    paths, out = (str(one), str(two)), (one / "data",)
    bundle = code_of(workflow(), paths, leave_out=out)
    assert bundle is not None
    assert (bundle.folders, bundle.files) == ((str(one),), 1)
    # In the order of look-up, whichever is named first.
    both = code_of(workflow("other:act"), paths, leave_out=out)
    assert both is not None
    assert both.folders == paths
    # What is installed belongs to the environment.
    assert code_of(workflow("json:loads", "os.path:join"), paths, leave_out=out) is None


def test_who_votes_about_a_handoff_is_taken_along(tmp_path: Path) -> None:
    one, two = folder(tmp_path / "one", mine=MINE), folder(tmp_path / "two", votes=MINE)
    agents = [{"name": n, "framework": "python", "entrypoint": "mine:act"} for n in "ab"]
    handoffs = [{"from": "a", "to": "b", "validators": ["votes:tool"]}]
    voted = workflow_from({"name": "w", "version": "1", "agents": agents, "handoffs": handoffs})
    bundle = code_of(voted, (str(one), str(two)))
    assert bundle is not None
    assert bundle.folders == (str(one), str(two))


def test_code_that_lacks_a_function_is_refused_with_what_changed(tmp_path: Path) -> None:
    old = pack((folder(tmp_path / "old", mine=MINE),)).data
    same = pack((folder(tmp_path / "same", mine=MINE + "# more\n"),))
    assert check_new_code(workflow(), same, old) == "changed mine.py"
    assert check_new_code(workflow(), same, None) == "it was not pinned before"
    less = pack((folder(tmp_path / "less", mine="def act(context): ...\n"),))
    with pytest.raises(InputError, match=r"'mine' defines no 'tool' \(changed mine\.py\)"):
        check_new_code(workflow(), less, old)
    gone = pack((folder(tmp_path / "gone", other=MINE),))
    with pytest.raises(InputError, match=r"no module 'mine' \(added other\.py; removed mine\.py\)"):
        check_new_code(workflow(), gone, old)
    broken = pack((folder(tmp_path / "broken", mine="def act(:"),))
    with pytest.raises(InputError, match="source of 'mine' cannot be read"):
        check_new_code(workflow(), broken, old)


def test_what_was_imported_or_installed_before_is_not_missed(tmp_path: Path) -> None:
    text = "from elsewhere import act, tool\n"
    old = pack((folder(tmp_path / "old", mine=text),)).data
    new = pack((folder(tmp_path / "new", mine=text + "# more\n"),))
    assert check_new_code(workflow(tool="json:loads"), new, old) == "changed mine.py"


def tree(path: Path, **files: str) -> Path:
    """Modules with dots written as two underscores: ``lib__rates`` is ``lib/rates.py``."""
    for name, text in files.items():
        file = path.joinpath(*name.split("__")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return path


@pytest.mark.parametrize(
    ("files", "refused"),
    [
        ({"lib__rates": "rate = 1"}, None),
        ({"lib__rates": "def rate(): ..."}, None),
        ({"lib__rates": "try:\n    rate = 1\nexcept OSError:\n    rate = 2"}, None),
        ({"lib__rates": "from elsewhere import *"}, None),
        ({"lib__rates": "def __getattr__(name): ..."}, None),
        ({"lib__rates": "other = 1"}, "'mine' imports 'rate' of 'lib.rates', which has none"),
        ({"lib__other": "rate = 1"}, "'mine' imports 'lib.rates', and there is none"),
        ({"lib__rates": "rate = ("}, "the source of 'lib.rates' cannot be read"),
        (
            {"lib__rates": "from .base import base\nrate = base"},
            "'lib.rates' imports 'lib.base', and there is none",
        ),
        (
            {"lib__rates": "from .base import gone\nrate = 1", "lib__base": "base = 1"},
            "'lib.rates' imports 'gone' of 'lib.base', which has none",
        ),
    ],
)
def test_what_the_named_modules_import_has_to_be_there(
    tmp_path: Path, files: dict[str, str], refused: str | None
) -> None:
    mine = "import json\nfrom lib.rates import rate\n" + MINE
    old = tree(
        tmp_path / "old",
        mine=mine,
        lib__rates="from .base import base, gone\nrate = base",
        lib__base="base = gone = 1",
    )
    new = pack((tree(tmp_path / "new", mine=mine, **files),))
    if refused is None:
        check_new_code(workflow(), new, pack((old,)).data)
    else:
        with pytest.raises(InputError, match=refused):
            check_new_code(workflow(), new, pack((old,)).data)


def test_imports_that_are_not_made_are_not_looked_at(tmp_path: Path) -> None:
    mine = (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from lib import gone\n"
        "def act(context):\n    from lib import gone\n"
        "def tool(): ...\n"
    )
    old = pack((tree(tmp_path / "old", mine=mine, lib="gone = 1"),)).data
    check_new_code(workflow(), pack((tree(tmp_path / "new", mine=mine),)), old)
