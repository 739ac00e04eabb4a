"""``backup``, ``restore`` and ``verify``: out of a data directory and into another."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from tests.cli.conftest import Omium

REPLICA = "replica.sqlite"


def test_there_and_back(omium: Omium, data_dir: Path, tmp_path: Path) -> None:
    archive, there = tmp_path / "archive", tmp_path / "there"
    made = omium("backup", archive, "--data-dir", data_dir)
    assert made.exit_code == 0, made.stderr
    assert "4 executions, 0 new blobs" in made.stdout
    again = json.loads(omium("backup", archive, "--data-dir", data_dir, "--json").stdout)
    assert (again["type"], again["executions"]) == ("backup", 4)

    dry = omium("restore", "--from", archive, "--dry-run", "--data-dir", there)
    assert dry.exit_code == 0, dry.stderr
    assert f"{again['replica']} would come back, up to entry {again['index']}: " in dry.stdout
    assert not there.exists()

    back = omium("restore", "--from", archive, "--data-dir", there, "--json")
    assert back.exit_code == 0, back.stderr
    told = json.loads(back.stdout)
    assert told["index"] == again["index"]
    assert told["executions"] == {"completed": 1, "failed": 1, "paused": 1, "running": 1}
    for command in (("ps",), ("show", "ex_0002")):
        assert (
            omium(*command, "--data-dir", there).stdout
            == omium(*command, "--data-dir", data_dir).stdout
        )

    twice = omium("restore", "--from", archive, "--data-dir", there)
    assert twice.exit_code == 2
    assert "there is a replica in" in twice.stderr


def test_an_earlier_point(omium: Omium, data_dir: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    assert omium("backup", archive, "--data-dir", data_dir).exit_code == 0
    back = omium(
        "restore", "--from", archive, "--index", 2, "--data-dir", tmp_path / "there", "--json"
    )
    assert json.loads(back.stdout)["index"] == 2


def test_an_archive_with_nothing_in_it(omium: Omium, tmp_path: Path) -> None:
    for command in (("restore", "--from", tmp_path / "a"), ("backup", tmp_path / "a")):
        told = omium(*command, "--data-dir", tmp_path / "none")
        assert told.exit_code == 2, told.stderr
        assert told.stderr.startswith("error: ")


def test_verify_says_what_is_damaged(omium: Omium, data_dir: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    assert omium("backup", archive, "--data-dir", data_dir).exit_code == 0
    whole = omium("verify", "--blobs", "--archive", archive, "--data-dir", data_dir)
    assert (whole.exit_code, whole.stdout) == (0, "OK: no damage\n"), whole.stderr
    connection = sqlite3.connect(data_dir / REPLICA, isolation_level=None)
    connection.execute("UPDATE journal SET crc = 0 WHERE execution = 'ex_0002' AND idx = 2")
    connection.close()
    found = omium("verify", "--data-dir", data_dir)
    assert found.exit_code == 7
    assert found.stdout == (
        "corrupt record ex_0002@2: its checksum does not match\n1 record damaged\n"
    )
    told = json.loads(omium("verify", data_dir, "--json").stdout)
    assert told["damage"] == ["corrupt record ex_0002@2: its checksum does not match"]
    assert omium("restore", "--from", archive, "--data-dir", tmp_path / "there").exit_code == 0
    compared = omium("verify", data_dir, tmp_path / "there")
    assert "ex_0002@2" in compared.stdout
    assert "differ" in compared.stdout


@pytest.mark.parametrize(
    ("archive", "target"),
    [
        ("{0}/archive", "{0}/archive/"),
        ("{0}/archive", "file://{0}/archive"),
        ("file://localhost{0}/an%20archive", "{0}/other/../an archive"),
        ("{0}/archive", "{0}/link"),
        ("s3://bucket/omium", "s3://bucket/omium/"),
        ("s3://bucket/omium/", "S3://Bucket//omium"),
        ("s3://bucket", "s3://bucket/"),
    ],
)
def test_the_archive_of_the_service_takes_no_backup_however_it_is_spelled(
    omium: Omium, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    archive: str, target: str,
) -> None:  # fmt: skip
    (tmp_path / "archive").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "archive")
    monkeypatch.setenv("OMIUM_ARCHIVE_URL", archive.format(tmp_path))
    told = omium("backup", target.format(tmp_path), "--data-dir", data_dir)
    assert told.exit_code == 2
    assert "the archive to which a service ships by itself" in told.stderr
    other = omium("backup", tmp_path / "elsewhere", "--data-dir", data_dir)
    assert other.exit_code == 0, other.stderr
