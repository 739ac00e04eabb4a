"""``backup``, ``restore`` and ``verify``: out of a data directory and into another."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from tests.cli.conftest import Omium

REPLICA = "replica.sqlite"


def test_there_and_back(omium: Omium, data_dir: Path, tmp_path: Path) -> None:
    archive, there = tmp_path / "archive", tmp_path / "there"
    made = omium("backup", archive, "--data-dir", data_dir)
    assert made.exit_code == 0, made.stderr
    assert "4 executions, 0 new blobs" in made.stdout
    again = json.loads(omium("backup", archive, "--data-dir", data_dir, "--json").stdout)
    assert (again["type"], again["executions"]) == ("backup", 4)

    dry = omium("restore", archive, "--dry-run", "--data-dir", there)
    assert dry.exit_code == 0, dry.stderr
    assert f"{again['replica']} would come back, up to entry {again['index']}: " in dry.stdout
    assert not there.exists()

    back = omium("restore", archive, "--data-dir", there, "--json")
    assert back.exit_code == 0, back.stderr
    told = json.loads(back.stdout)
    assert told["index"] == again["index"]
    assert told["executions"] == {"completed": 1, "failed": 1, "paused": 1, "running": 1}
    for command in (("ps",), ("show", "ex_0002")):
        assert (
            omium(*command, "--data-dir", there).stdout
            == omium(*command, "--data-dir", data_dir).stdout
        )

    twice = omium("restore", archive, "--data-dir", there)
    assert twice.exit_code == 2
    assert "there is a replica in" in twice.stderr


def test_an_earlier_point(omium: Omium, data_dir: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    assert omium("backup", archive, "--data-dir", data_dir).exit_code == 0
    back = omium("restore", archive, "--index", 2, "--data-dir", tmp_path / "there", "--json")
    assert json.loads(back.stdout)["index"] == 2


def test_an_archive_with_nothing_in_it(omium: Omium, tmp_path: Path) -> None:
    for command in (("restore", tmp_path / "a"), ("backup", tmp_path / "a")):
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
    assert omium("restore", archive, "--data-dir", tmp_path / "there").exit_code == 0
    compared = omium("verify", data_dir, tmp_path / "there")
    assert "ex_0002@2" in compared.stdout
    assert "differ" in compared.stdout
