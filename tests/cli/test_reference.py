"""``docs/cli.md`` says what the program does."""

from __future__ import annotations

from pathlib import Path

from omium.cli.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_reference_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), (
        "run: python -m omium.cli.reference docs/cli.md"
    )


def test_every_exit_code_is_explained() -> None:
    rows = [line for line in reference().splitlines() if line.startswith("| ")]
    codes = [row.split("|")[1].strip() for row in rows if row.split("|")[1].strip().isdecimal()]
    assert codes == ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "129", "130", "143"]
