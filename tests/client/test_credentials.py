"""Which service, and with which key."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from omium.client.credentials import connection_of, credentials_path, store_key, stored_key
from omium.errors import ConfigError

HERE = "http://127.0.0.1:8700"


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OMIUM_ADDRESS", "OMIUM_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_a_stored_key_goes_with_its_address_alone() -> None:
    assert stored_key(HERE) is None
    path = store_key(HERE + "/", "omk_one")
    store_key("https://elsewhere", "omk_two")
    assert path == credentials_path()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert connection_of(HERE, None) == (HERE, "omk_one")
    assert connection_of("https://elsewhere/", None)[1] == "omk_two"
    assert connection_of("http://nowhere", None)[1] is None
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_what_is_given_wins_over_the_environment_and_that_over_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store_key(HERE, "omk_stored")
    monkeypatch.setenv("OMIUM_ADDRESS", HERE)
    assert connection_of(None, None) == (HERE, "omk_stored")
    monkeypatch.setenv("OMIUM_API_KEY", "omk_env")
    assert connection_of(None, None) == (HERE, "omk_env")
    assert connection_of("http://b", "omk_given") == ("http://b", "omk_given")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    store_key(HERE, "omk_one").write_text("{")
    with pytest.raises(ConfigError, match=r"credentials\.json"):
        stored_key(HERE)


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("a file")
    with pytest.raises(ConfigError, match=r"credentials\.json"):
        store_key(HERE, "omk_one")
