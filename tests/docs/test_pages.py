"""What the documentation points to exists, and what it lists is complete."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from omium.execution.events import Event
from tests.docs.pages import PAGES, ROOT, anchors, blocks, links, named, prose, spans
from tests.execution.diagram import transitions_drawn, type_name

ARCHITECTURE = ROOT / "docs" / "architecture.md"
DECISIONS = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
_CITED = re.compile(r"(omium|tests|benchmarks|examples|docs)/[\w./-]+(::\w+)?")
_ADR = re.compile(r"(?:ADR |docs/adr/)(\d{4})")


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        if anchor:
            assert anchor in anchors(target), f"{link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_cited_files_and_tests_exist(page: Path) -> None:
    for span in spans(page):
        if _CITED.fullmatch(span) is None:
            continue
        path, _, test = span.partition("::")
        assert (ROOT / path).exists(), f"{span} is not there"
        if test:
            assert re.search(rf"def {test}\(", (ROOT / path).read_text()), f"{span} is not there"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_page_knows_no_machine(page: Path) -> None:
    assert str(ROOT) not in page.read_text(encoding="utf-8")


def test_the_transitions_are_those_of_the_machine() -> None:
    drawn = {block.text for block in blocks(ARCHITECTURE, "text")}
    assert transitions_drawn() in drawn, "put in what python -m tests.execution.diagram prints"


def test_every_event_is_explained() -> None:
    table = prose(ARCHITECTURE).partition("## The journal")[2].partition("\n## ")[0]
    told = re.findall(r"^\| `([a-z.]+)` \|", table, re.MULTILINE)
    assert told == [type_name(event) for event in get_args(Event)]


def test_every_room_is_in_the_table() -> None:
    rooms = {
        path.stem
        for path in (ROOT / "omium").iterdir()
        if not path.name.startswith("_")
        and (path.suffix == ".py" or (path / "__init__.py").exists())
    }
    table = prose(ARCHITECTURE).partition("## Rooms")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?) \|(?= [a-z])", table, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == rooms


def test_decisions_are_numbered_listed_and_whole() -> None:
    assert [page.name[:4] for page in DECISIONS] == [f"{n + 1:04}" for n in range(len(DECISIONS))]
    assert links(ROOT / "docs" / "adr" / "README.md") == [page.name for page in DECISIONS]
    for page in DECISIONS:
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {page.name[:4]} "), page.name
        parts = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert parts == ["Context", "Decision", "Consequences", "Alternatives"], page.name


def test_cited_decisions_exist() -> None:
    known = {page.name[:4] for page in DECISIONS}
    sources = [*(ROOT / "omium").rglob("*.py"), ROOT / "pyproject.toml", *PAGES]
    for source in sources:
        cited = set(_ADR.findall(source.read_text(encoding="utf-8")))
        assert cited <= known, f"{source}: there is no ADR {cited - known}"
