"""Bundles of code: the same bytes for the same files, what is left out, and limits."""

from __future__ import annotations

import io
import os
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omium.errors import CorruptBlob, InputError, StorageUnwritable
from omium.storage import code_bundle
from omium.storage.code_bundle import Changes, changes_between, pack, received, unpack
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
    assert changes_between(None, before) == Changes(added=("a.py", "b.py", "c.py"))
    assert str(Changes(added=("x",) * 25)).endswith("x, x and 5 more")
    (tmp_path / "x" / "a.py").chmod(0o755)
    assert changes_between(before, pack((tmp_path / "x",)).data) == Changes(changed=("a.py",))


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


def zipped(
    *files: tuple[str, str], mode: int = 0o100644, compression: int = zipfile.ZIP_DEFLATED
) -> bytes:
    """An archive as other programs make them: compressed, in any order."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, text, compression)
    return buffer.getvalue()


def test_what_is_received_has_the_form_of_what_is_packed(tmp_path: Path) -> None:
    packed = pack((write(tmp_path / "one", a_dot_py="a", sub__b_dot_py="b" * 5_000),))
    assert received(packed.data).data == packed.data
    same = zipped(("0/sub/", ""), ("0/sub/b.py", "b" * 5_000), ("0/a.py", "a"))
    assert len(same) < len(packed.data)
    bundle = received(same)
    assert (bundle.data, bundle.files, bundle.folders) == (packed.data, 2, ())
    (tmp_path / "one" / "a.py").chmod(0o755)
    executable = received(zipped(("0/a.py", "a"), mode=0o100755))
    assert changes_between(executable.data, pack((tmp_path / "one",)).data).changed == ()


@pytest.mark.parametrize(
    "names",
    [
        (),
        ("0/",),
        ("a.py",),
        ("0",),
        ("",),
        ("x/a.py",),
        ("00/a.py",),
        ("1000/a.py",),
        ("/0/a.py",),
        ("0//a.py",),
        ("0/../a.py",),
        ("0/./a.py",),
        ("0/a\\b.py",),
        ("0/a\n.py",),
        ("0/a/b.py", "0/a"),
        (f"0/{'x' * 256}.py",),
        ("0/" + "x/" * 600 + "a.py",),
    ],
)
def test_names_that_are_not_taken(names: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no bundle of code"):
        received(zipped(*((name, "") for name in names)))


def test_what_else_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no bundle of code"):
        received(b"")
    with pytest.raises(InputError, match="is a link"):
        received(zipped(("0/a.py", "/etc/passwd"), mode=0o120777))
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = zipped(("0/a.py", "1"), ("0/a.py", "2"))
    with pytest.raises(InputError, match="two files of one name"):
        received(twice)
    damaged = received(zipped(("0/a.py", "content"))).data.replace(b"content", b"contemt")
    with pytest.raises(InputError, match="no bundle of code"):
        received(damaged)
    for compression in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with pytest.raises(InputError, match="otherwise than by deflate"):
            received(zipped(("0/a.py", ""), compression=compression))
    monkeypatch.setattr(code_bundle, "FILES_MAX", 1)
    with pytest.raises(InputError, match="more than 1 files"):
        received(zipped(("0/a.py", ""), ("0/b.py", "")))
    monkeypatch.setattr(code_bundle, "ENTRIES_MAX", 1)
    with pytest.raises(InputError, match="more than 1 files"):
        received(zipped(("0/", ""), ("0/a.py", "")))
    monkeypatch.setattr(code_bundle, "BYTES_MAX", 10)
    with pytest.raises(InputError, match="more than 10 bytes"):
        received(zipped(("0/a.py", "x" * 11)))


def test_what_says_that_it_is_small_is_not_read_further() -> None:
    bomb = bytearray(zipped(("0/a.py", "x" * 1_000_000)))
    # The size of the content, in the central directory and before the content itself.
    for at in (bomb.rindex(b"PK\x01\x02") + 24, 22):
        bomb[at : at + 4] = (10).to_bytes(4, "little")
    with pytest.raises(InputError, match="no bundle of code"):
        received(bytes(bomb))


@given(st.binary(max_size=300), st.integers(0, 300))
def test_noise_is_no_bundle(noise: bytes, at: int) -> None:
    good = zipped(("0/a.py", "a"), ("0/b.py", "b"))
    for data in (noise, good[:at] + noise + good[at + len(noise) :]):
        with suppress(InputError):
            bundle = received(data)
            assert received(bundle.data).data == bundle.data
