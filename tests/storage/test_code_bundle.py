"""Bundles of code: the same bytes for the same files, what is left out, and limits."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest

from omium.errors import CorruptBlob, InputError, StorageUnwritable
from omium.storage import code_bundle
from omium.storage.code_bundle import Changes, changes_between, pack, unpack
from omium.storage.code_ignore import Ignored


def write(folder: Path, **files: str) -> Path:
    """Files whose names have ``__`` for a slash and ``_dot_`` for a dot."""
    for name, text in files.items():
        path = folder / name.replace("_dot_", ".").replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def names(data: bytes) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.namelist()


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    one = write(tmp_path / "one", b_dot_py="b", a_dot_py="a", sub__c_dot_py="c")
    two = write(tmp_path / "two", sub__c_dot_py="c", a_dot_py="a", b_dot_py="b")
    os.utime(two / "a.py", (1, 1))
    first, second = pack((one,)), pack((two,))
    assert first.data == second.data
    assert (first.files, first.folders) == (3, (str(one),))
    assert names(first.data) == ["0/a.py", "0/b.py", "0/sub/c.py"]
    write(two, a_dot_py="A")
    assert pack((two,)).data != first.data


def test_secrets_caches_and_what_rules_name_are_left_out(tmp_path: Path) -> None:
    write(
        tmp_path,
        agent_dot_py="",
        prompt_dot_txt="",
        _dot_env="KEY=1",
        server_dot_pem="",
        __pycache____agent_dot_pyc="",
        _dot_git__config="",
        env__pyvenv_dot_cfg="",
        env__lib_dot_py="",
        data__big_dot_bin="",
        data__small_dot_txt="",
        state__replica="",
        _dot_gitignore="*.bin\n",
        _dot_omiumignore="# notes\ndata/small.txt\n",
    )
    (tmp_path / "link.py").symlink_to("/etc/hostname")
    assert names(pack((tmp_path,), leave_out=(tmp_path / "state",)).data) == [
        "0/agent.py",
        "0/prompt.txt",
    ]


@pytest.mark.parametrize(
    ("rules", "path", "left_out"),
    [
        (["*.log"], "a/b.log", True),
        (["/a.log"], "b/a.log", False),
        (["/a.log"], "a.log", True),
        (["docs/*.md"], "docs/a.md", True),
        (["docs/*.md"], "docs/x/a.md", False),
        (["docs/**/a.md"], "docs/x/y/a.md", True),
        (["docs/**/a.md"], "docs/a.md", True),
        (["docs/**"], "docs/x/y", True),
        (["build/"], "build", False),
        (["*.txt", "!keep.txt"], "keep.txt", False),
        (["!keep.txt", "*.txt"], "keep.txt", True),
        (["!.env.example"], ".env.example", False),
        (["a[0-9].py"], "a7.py", True),
        (["a[!0-9].py"], "a7.py", False),
        (["[z-a].py", "b.py"], "b.py", True),
        (["a?c"], "a/c", False),
        (["\\#x"], "#x", True),
        (["a.c"], "abc", False),
        ([], ".env.local", True),
        ([], "agent.py", False),
    ],
)
def test_rules_are_those_of_git(rules: list[str], path: str, left_out: bool) -> None:
    assert Ignored(rules).leaves_out(path, folder=False) is left_out


def test_a_rule_for_folders(tmp_path: Path) -> None:
    assert Ignored(["build/"]).leaves_out("x/build", folder=True)


def test_what_is_unpacked_is_what_was_packed(tmp_path: Path) -> None:
    one = write(tmp_path / "one", a_dot_py="a", sub__b_dot_py="b")
    two = write(tmp_path / "two", c_dot_py="c")
    folders = unpack(pack((one, two)).data, tmp_path / "there")
    assert folders == (str(tmp_path / "there" / "0"), str(tmp_path / "there" / "1"))
    assert (tmp_path / "there" / "0" / "sub" / "b.py").read_text() == "b"
    assert pack(tuple(map(Path, folders))).data == pack((one, two)).data
    with pytest.raises(StorageUnwritable):
        unpack(pack((one,)).data, tmp_path / "there")


def test_what_differs_is_told(tmp_path: Path) -> None:
    before = pack((write(tmp_path / "x", a_dot_py="a", b_dot_py="b", c_dot_py="c"),)).data
    after = pack((write(tmp_path / "y", a_dot_py="a", b_dot_py="B", d_dot_py="d"),)).data
    changes = changes_between(before, after)
    assert changes == Changes(added=("d.py",), changed=("b.py",), removed=("c.py",))
    assert str(changes) == "added d.py; changed b.py; removed c.py"
    assert not changes_between(before, before)
    assert str(Changes()) == "no file differs"


def test_limits_are_told_with_the_largest_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_bundle, "BYTES_MAX", 10)
    write(tmp_path, a_dot_py="1234", data__b_dot_txt="1234567")
    with pytest.raises(InputError, match=r"over the limits.* are data, a\.py\).*\.omiumignore"):
        pack((tmp_path,))
    write(tmp_path, _dot_omiumignore="data\n")
    assert pack((tmp_path,)).files == 1
    monkeypatch.setattr(code_bundle, "FILES_MAX", 1)
    write(tmp_path, b_dot_py="")
    with pytest.raises(InputError, match="1 files"):
        pack((tmp_path,))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        pack((tmp_path / "none",))


@pytest.mark.parametrize("name", ["0/../../x.py", "/etc/x.py", "x.py", "a/x.py", "0/a\\..\\x"])
def test_a_bundle_cannot_write_elsewhere(tmp_path: Path, name: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, "x")
    with pytest.raises(CorruptBlob, match="no bundle of code: a file named"):
        unpack(buffer.getvalue(), tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_noise_and_bombs_are_no_bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CorruptBlob, match="no bundle of code"):
        unpack(b"noise", tmp_path / "there")
    whole = pack((write(tmp_path / "x", a_dot_py="a" * 100),)).data
    monkeypatch.setattr(code_bundle, "BYTES_MAX", 50)
    with pytest.raises(CorruptBlob, match="over the limits"):
        unpack(whole, tmp_path / "there")
