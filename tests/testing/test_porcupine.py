"""The checker agrees with the verdicts that come with Porcupine's histories.

Those of the etcd logs are in ``verdicts.tsv``, which lists for each whether it is linearizable;
those of the store are in the names of the files, ``-ok`` or ``-bad``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from omium.testing.linearizability import KeyValue, Register, check
from tests.testing.jepsen import PORCUPINE, etcd, store

pytestmark = pytest.mark.skipif(
    not PORCUPINE.is_dir(), reason="the histories of Porcupine are not beside this checkout"
)


def etcd_verdicts() -> dict[str, str]:
    listing = PORCUPINE / "etcd" / "verdicts.tsv"
    if not listing.exists():
        return {}
    rows = [line.split("\t") for line in listing.read_text().splitlines()[1:]]
    return {name: {"true": "ok", "false": "illegal"}[verdict] for name, verdict in rows}


def test_every_etcd_log_has_a_verdict_and_both_occur() -> None:
    verdicts = etcd_verdicts()
    assert verdicts.keys() == {path.name for path in (PORCUPINE / "etcd").glob("*.log")}
    assert set(verdicts.values()) == {"ok", "illegal"}


@pytest.mark.parametrize(("name", "verdict"), etcd_verdicts().items())
def test_a_log_of_etcd(name: str, verdict: str) -> None:
    result = check(etcd(PORCUPINE / "etcd" / name), Register())
    assert result.verdict == verdict, result


@pytest.mark.parametrize("path", sorted((PORCUPINE / "kv").glob("*.txt")), ids=lambda p: p.name)
def test_a_history_of_a_store(path: Path) -> None:
    verdict = {"ok": "ok", "bad": "illegal"}[path.stem.partition("-")[2]]
    result = check(store(path), KeyValue())
    assert result.verdict == verdict, result
