"""Bundles: folders of code packed into one value that is named by its content.

Owns the form of a bundle, what is left out of it, and its limits. The same files give the same
bytes, whenever and wherever they are packed: a ZIP archive of stored files, in the order of
their names, without times. It does not decide which folders make up a workflow's code, and it
imports nothing of what it packs.

Folder ``n`` of a bundle lies under ``n/``. ``.gitignore`` and ``.omiumignore`` at the top of a
folder say what else is left out. Links are left out: what they lead to may be anywhere.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from omium.errors import CorruptBlob, InputError, StorageUnwritable
from omium.storage.code_ignore import Ignored

FILES_MAX = 4_000
BYTES_MAX = 32 * 1024 * 1024
IGNORE_FILES = (".gitignore", ".omiumignore")
IGNORE_BYTES_MAX = 256 * 1024
NAMES_TOLD_MAX = 20
NAME_BYTES_MAX = 255
PATH_CHARS_MAX = 1_024
ENTRIES_MAX = 10 * FILES_MAX
"""What an archive may list: its own files and folders, and those of archives among them."""

_ENTRY = b"PK\x01\x02"
_COMPRESSIONS = frozenset((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
_NUMBER = re.compile(r"0|[1-9][0-9]{0,2}", re.ASCII)
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What differs between two bundles, by the names of the files."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    def __str__(self) -> str:
        parts = [
            f"{what} {names_in_words(names)}"
            for what, names in (
                ("added", self.added),
                ("changed", self.changed),
                ("removed", self.removed),
            )
            if names
        ]
        return "; ".join(parts) or "no file differs"


def names_in_words(names: Sequence[str]) -> str:
    """The first of those names, and how many more there are."""
    more = len(names) - NAMES_TOLD_MAX
    return ", ".join(names[:NAMES_TOLD_MAX]) + (f" and {more} more" if more > 0 else "")


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Packed code. ``folders`` are those that it was taken from, in the order of look-up."""

    data: bytes
    files: int
    folders: tuple[str, ...]


def pack(folders: Sequence[Path], *, leave_out: Collection[Path] = ()) -> Bundle:
    """The code in ``folders``, without what rules leave out and without ``leave_out``.

    Raises ``InputError`` where a folder cannot be read, or holds more than ``FILES_MAX`` files
    or ``BYTES_MAX`` bytes in all, naming its largest parts.
    """
    out = {str(path.resolve()) for path in leave_out}
    found: list[tuple[str, Path]] = []
    sizes: dict[str, int] = {}
    for number, folder in enumerate(folders):
        rules = Ignored(_rules_in(folder))
        try:
            for name, path, size in _files(folder.resolve(), "", rules, out):
                found.append((f"{number}/{name}", path))
                top = name.partition("/")[0]
                sizes[top] = sizes.get(top, 0) + size
                if len(found) > FILES_MAX or sum(sizes.values()) > BYTES_MAX:
                    raise _too_much(folder, len(found), sizes)
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(f"the code in {str(folder)!r} cannot be read: {reason}") from error
    return Bundle(
        data=_archive(_read(found)),
        files=len(found),
        folders=tuple(str(folder) for folder in folders),
    )


def _read(found: Sequence[tuple[str, Path]]) -> Iterator[tuple[str, bool, bytes]]:
    for name, path in sorted(found):
        try:
            yield name, bool(path.stat().st_mode & stat.S_IXUSR), path.read_bytes()
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(f"{str(path)!r} cannot be read: {reason}") from error


def _archive(files: Iterable[tuple[str, bool, bytes]]) -> bytes:
    """The archive of files in order, each with whether it can be executed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, executable, content in files:
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3  # Unix, wherever this runs
            info.external_attr = (0o755 if executable else 0o644) << 16
            archive.writestr(info, content)
    return buffer.getvalue()


def received(data: bytes) -> Bundle:
    """The bundle in a ZIP archive that somebody sent, in the form that ``pack`` gives it.

    Entries of folders are passed over. Raises ``InputError`` for what is no archive of files below
    ``0/``, ``1/`` and so on, for what is over the limits, and for links.
    """
    try:
        # Before the list of them is read: it takes more memory than the archive.
        if data.count(_ENTRY) > ENTRIES_MAX:
            raise ValueError(f"more than {FILES_MAX} files")
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(info.file_size for info in archive.infolist()) > BYTES_MAX:
                raise ValueError(f"more than {BYTES_MAX} bytes")
            infos = [i for i in archive.infolist() if not i.filename.endswith("/")]
            if not _COMPRESSIONS.issuperset(info.compress_type for info in infos):
                raise ValueError("compressed otherwise than by deflate")
            _check_names([info.filename for info in infos])
            files = sorted((i.filename, _is_executable(i), archive.read(i)) for i in infos)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
        raise InputError(f"this is no bundle of code: {error}") from error
    return Bundle(data=_archive(files), files=len(files), folders=())


def _check_names(names: Sequence[str]) -> None:
    """Raise ``ValueError`` for names that cannot all be those of files of a bundle."""
    if not names:
        raise ValueError("it has no files")
    if len(names) > FILES_MAX:
        raise ValueError(f"more than {FILES_MAX} files")
    folders: set[str] = set()
    for name in names:
        number, *parts = name.split("/")
        short = all(0 < len(part.encode("utf-8", "replace")) <= NAME_BYTES_MAX for part in parts)
        if not _NUMBER.fullmatch(number) or not parts or not short or len(name) > PATH_CHARS_MAX:
            raise ValueError(f"a file named {name!r}, expected 0/… or 1/…")
        if not name.isprintable() or "\\" in name or not {".", ".."}.isdisjoint(parts):
            raise ValueError(f"a file named {name!r}")
        folders.update("/".join((number, *parts[:at])) for at in range(len(parts)))
    if len(set(names)) < len(names) or not folders.isdisjoint(names):
        raise ValueError("two files of one name")


def _is_executable(info: zipfile.ZipInfo) -> bool:
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise ValueError(f"{info.filename!r} is a link, or another thing than a file")
    return bool(mode & stat.S_IXUSR)


def _rules_in(folder: Path) -> list[str]:
    lines: list[str] = []
    for name in IGNORE_FILES:
        try:
            with (folder / name).open("rb") as file:
                text = file.read(IGNORE_BYTES_MAX)
        except OSError:
            continue
        lines += text.decode("utf-8", "replace").splitlines()
    return lines


def _files(
    folder: Path, inside: str, rules: Ignored, out: Collection[str]
) -> Iterator[tuple[str, Path, int]]:
    """Name, path and size of every file that is not left out."""
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        name = f"{inside}{entry.name}"
        is_folder = entry.is_dir(follow_symlinks=False)
        path = Path(entry.path)
        if entry.path in out or rules.leaves_out(name, folder=is_folder):
            continue
        if is_folder:
            # A virtual environment, whatever it is called.
            if not (path / "pyvenv.cfg").exists():
                yield from _files(path, f"{name}/", rules, out)
        elif entry.is_file(follow_symlinks=False):
            yield name, path, entry.stat(follow_symlinks=False).st_size


def _too_much(folder: Path, files: int, sizes: dict[str, int]) -> InputError:
    largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
    return InputError(
        f"the code in {str(folder)!r} is over the limits of {FILES_MAX} files and "
        f"{BYTES_MAX} bytes (so far {files} files; the largest parts are {', '.join(largest)}): "
        "name in .omiumignore what is no code, or put the workflow into a folder of its own"
    )


def unpack(data: bytes, directory: Path) -> tuple[str, ...]:
    """Write a bundle into ``directory``, which must not be there, and return its folders.

    Raises ``CorruptBlob`` for what is no bundle, and ``StorageUnwritable``.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            contents = [(info.filename, archive.read(info)) for info in _infos(archive)]
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise CorruptBlob(digest_of(data), f"it is no bundle of code: {error}") from error
    folders: dict[str, None] = {}
    try:
        directory.mkdir(parents=True)
        for name, content in contents:
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            folders[name.partition("/")[0]] = None
    except OSError as error:
        raise StorageUnwritable(str(directory), error.strerror or str(error)) from error
    return tuple(str(directory / number) for number in sorted(folders, key=int))


def _infos(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    infos = archive.infolist()
    if len(infos) > FILES_MAX or sum(info.file_size for info in infos) > BYTES_MAX:
        raise ValueError("over the limits")
    for info in infos:
        parts = PurePosixPath(info.filename).parts
        if len(parts) < 2 or not parts[0].isdecimal() or ".." in parts or "\\" in info.filename:
            raise ValueError(f"a file named {info.filename!r}")
    return infos


def changes_between(before: bytes | None, after: bytes | None) -> Changes:
    """What differs between two bundles, None being one of no files. Raises ``CorruptBlob``."""
    was, now = (_digests(data) if data is not None else {} for data in (before, after))
    return Changes(
        added=tuple(_told(name) for name in now if name not in was),
        changed=tuple(_told(name) for name in now if was.get(name, now[name]) != now[name]),
        removed=tuple(_told(name) for name in was if name not in now),
    )


def _told(name: str) -> str:
    # Nearly every bundle is of one folder.
    return name.removeprefix("0/")


def _digests(data: bytes) -> dict[str, tuple[str, int]]:
    """The digest of each file, and what may be done with it."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {
                info.filename: (digest_of(archive.read(info)), info.external_attr)
                for info in _infos(archive)
            }
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise CorruptBlob(digest_of(data), f"it is no bundle of code: {error}") from error


def digest_of(data: bytes) -> str:
    """The name of a bundle: ``sha256:`` and the digest in hex, as the blob store has it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
