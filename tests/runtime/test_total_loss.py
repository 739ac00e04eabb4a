"""All coordinators of a group and their disks are lost, on a real Ray; S3 has the past."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.loss import run

pytestmark = [pytest.mark.ray, pytest.mark.s3, pytest.mark.timeout(300)]

EXECUTIONS = 3


def test_executions_outlive_every_disk(tmp_path: Path) -> None:
    outcome = run(tmp_path, EXECUTIONS)
    # Their creation was shipped before everything was lost, and their ends could not be.
    assert outcome.executions_back == EXECUTIONS
    assert outcome.unfinished_back > 0
    assert outcome.completed == EXECUTIONS
    assert outcome.repeated_calls == 0
