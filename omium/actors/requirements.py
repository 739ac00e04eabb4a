"""What the user's code requires, installed for one worker beside what its environment has.

Nothing of the environment is replaced: Omium, Ray and the frameworks run on it, and a warm worker
has imported much of it. A package that is there already is not installed again; where a
requirement wants another version of it, that is an error. See docs/adr/0028.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.metadata
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from omium.errors import RequirementsError

INSTALL_LIMIT_S = 300.0
WORDS_CHARS_MAX = 2_000
FILE_CHARS_MAX = 1024 * 1024

Install = Callable[[Sequence[str], Sequence[str], Path], Awaitable[str]]
"""Requirements, the folders of the code, and a directory that is not there; returns the folder
in which what was installed can be imported. Raises ``RequirementsError``."""


async def install(
    requirements: Sequence[str],
    folders: Sequence[str],
    directory: Path,
    *,
    limit_s: float = INSTALL_LIMIT_S,
) -> str:
    """Install ``requirements`` with uv into ``directory``, and put that behind all other places
    of this process's imports.

    One that ends in ``.txt`` is a requirements file in one of ``folders``. Takes ``limit_s``
    seconds at most. Raises ``RequirementsError`` with the words of uv.
    """
    there: dict[str, str] = {
        canonicalize_name(found.name): found.version
        for found in importlib.metadata.distributions()
        if found.name
    }
    lines = [_line(requirement, folders) for requirement in requirements]
    refused = list(_conflicts(_wanted(lines), there))
    target = directory / "packages"
    if not refused:
        await asyncio.to_thread(_write, directory, lines, there)
        command = (
            *(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-progress"),
            *("--python", sys.executable, "--target", str(target)),
            *("--overrides", str(directory / "there.txt")),
            *("--requirements", str(directory / "wanted.txt")),
        )
        await _run(command, _beside(requirements, folders) or directory, limit_s)
        refused = await asyncio.to_thread(lambda: list(_broken(target, there)))
    if refused:
        raise RequirementsError("; ".join(refused))
    # Behind the environment: what both have is the environment's.
    sys.path.append(str(target))
    importlib.invalidate_caches()
    return str(target)


def _line(requirement: str, folders: Sequence[str]) -> str:
    if not requirement.endswith(".txt"):
        return requirement
    folder = _beside([requirement], folders)
    if folder is None:
        raise RequirementsError(f"there is no file {requirement!r} with the code")
    return f"-r {folder / requirement}"


def _beside(requirements: Sequence[str], folders: Sequence[str]) -> Path | None:
    """The folder that the first requirements file is in: what it names may lie beside it."""
    files = (one for one in requirements if one.endswith(".txt"))
    places = ((Path(folder), file) for file in files for folder in folders)
    return next((folder for folder, file in places if (folder / file).is_file()), None)


def _write(directory: Path, lines: Sequence[str], there: Mapping[str, str]) -> None:
    directory.mkdir(parents=True)
    (directory / "packages").mkdir()
    (directory / "wanted.txt").write_text("\n".join([*lines, ""]))
    # Taken out of the resolution, wherever they are wanted: no index need be asked for them.
    off = [f"{name} ; python_version < '0'\n" for name in sorted(there)]
    (directory / "there.txt").write_text("".join(off))


def _wanted(lines: Sequence[str]) -> Iterator[Requirement]:
    """What is wanted by name, also in files. What only uv understands is left to it."""
    for line in lines:
        texts = [line]
        if line.startswith("-r "):
            texts = Path(line[3:]).read_text()[:FILE_CHARS_MAX].splitlines()
        for text in texts:
            with contextlib.suppress(InvalidRequirement):
                yield Requirement(text.partition(" #")[0].partition(" --")[0].rstrip(" \\"))


def _conflicts(wanted: Iterator[Requirement], there: Mapping[str, str]) -> Iterator[str]:
    for requirement in wanted:
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        version = there.get(canonicalize_name(requirement.name))
        if applies and version and not requirement.specifier.contains(version, prereleases=True):
            yield f"{str(requirement)!r} is wanted, and this environment has {version}"


def _broken(target: Path, there: Mapping[str, str]) -> Iterator[str]:
    """Where what was installed wants another version of what the environment has."""
    for found in importlib.metadata.distributions(path=[str(target)]):
        wanted = (Requirement(text) for text in found.requires or ())
        for problem in _conflicts(iter(list(wanted)), there):
            yield f"{found.name} {found.version}: {problem}"


async def _run(command: Sequence[str], folder: Path, limit_s: float) -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        # It may start builds: all of them are to end with it.
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(limit_s):
            said, _ = await process.communicate()
    except TimeoutError as error:
        raise RequirementsError(f"not installed within {limit_s:g} s") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode != 0:
        words = said.decode("utf-8", "replace").strip()
        raise RequirementsError(words[-WORDS_CHARS_MAX:] or f"uv ended with {process.returncode}")
