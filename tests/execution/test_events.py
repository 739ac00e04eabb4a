"""What is encoded is decoded; what is damaged is named."""

from __future__ import annotations

import json
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omium.errors import CorruptRecord
from omium.execution import events as ev
from omium.execution.commands import decode_command, encode_command
from omium.types import ExecutionId
from tests.execution.strategies import EVENTS, creation, records_of


@pytest.mark.parametrize("kind", get_args(ev.Event), ids=lambda kind: kind.__name__)
def test_every_event_survives_its_encoding(kind: type[msgspec.Struct]) -> None:
    @given(records_of(kind))
    def survives(event: ev.Event) -> None:
        assert ev.decode_event(ev.encode_event(event), "here") == event

    survives()


@given(records_of(ev.Append))
def test_every_append_survives_its_encoding(append: ev.Append) -> None:
    append = msgspec.structs.replace(append, format=ev.FORMAT)
    assert decode_command(encode_command(append), "here") == append


@given(EVENTS)
def test_an_entry_is_shown_as_json(event: ev.Event) -> None:
    entry = ev.Entry(execution_id=ExecutionId("exe_1"), index=7, at_ms=8, epoch=9, event=event)
    shown = json.loads(json.dumps(ev.to_json(entry)))
    place = {"execution": "exe_1", "index": 7, "at_ms": 8, "type": ev.type_of(event)}
    assert place.items() <= shown.items()
    # Leases tell the epoch that they give or end, not the coordinator's.
    assert shown["epoch"] == getattr(event, "epoch", 9)


@given(EVENTS)
def test_an_entry_is_made_again_from_its_json(event: ev.Event) -> None:
    epoch = 0 if hasattr(event, "epoch") else 9
    entry = ev.Entry(execution_id=ExecutionId("exe_1"), index=7, at_ms=8, epoch=epoch, event=event)
    shown = json.loads(json.dumps(ev.to_json(entry)))
    assert ev.from_json(shown) == entry
    assert ev.to_json(ev.from_json(shown)) == ev.to_json(entry)


@pytest.mark.parametrize(
    "shown",
    [
        {},
        {"execution": "exe_1", "index": 1, "at_ms": 1, "epoch": 0, "type": "nothing.known"},
        {"execution": "exe_1", "index": "1", "at_ms": 1, "epoch": 0, "type": "execution.resumed"},
    ],
)
def test_what_is_no_entry_is_refused(shown: dict[str, object]) -> None:
    with pytest.raises(CorruptRecord, match="an entry in JSON"):
        ev.from_json(shown)


def test_event_names_are_unique() -> None:
    names = [kind.__struct_config__.tag for kind in get_args(ev.Event)]
    assert len(set(names)) == len(names)


@given(EVENTS, st.data())
def test_a_truncated_event_is_named(event: ev.Event, data: st.DataObject) -> None:
    body = ev.encode_event(event)
    cut = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(CorruptRecord, match="exe_1@7"):
        ev.decode_event(body[:cut], "exe_1@7")


@given(st.binary(max_size=64))
def test_noise_is_no_event(noise: bytes) -> None:
    with pytest.raises(CorruptRecord, match="exe_1@7"):
        ev.decode_event(noise, "exe_1@7")
    with pytest.raises(CorruptRecord, match="log@7"):
        decode_command(noise, "log@7")


def test_nesting_without_end_is_no_event() -> None:
    with pytest.raises(CorruptRecord, match="exe_1@7"):
        ev.decode_event(b"\x81\xa5state" + b"\x91" * 100_000, "exe_1@7")


def test_an_append_of_a_later_format_is_named() -> None:
    later = msgspec.structs.replace(creation("exe_1"), format=ev.FORMAT + 1)
    with pytest.raises(CorruptRecord, match=f"log@7: format {ev.FORMAT + 1}"):
        decode_command(encode_command(later), "log@7")


def test_old_journals_lack_newer_fields_and_newer_ones_have_more() -> None:
    resumed = msgspec.msgpack.encode({"type": "execution.resumed", "mood": "good"})
    assert ev.decode_event(resumed, "here") == ev.Resumed()
