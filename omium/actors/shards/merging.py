"""One answer made of those that every shard gave. Pure."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from omium.actors import messages as m
from omium.errors import ProtocolError


def merged(asked: Any, answers: Sequence[Any]) -> Any:
    """The answer to what every shard was ``asked``, by shard in ``answers``.

    Pages stay pages: each shard gives as many rows as were asked for, those that follow the same
    cursor, so that the first of all of them are the page, and its last is the next cursor.
    """
    match asked:
        case m.ListExecutions():
            pages = [answer.rows for answer in answers]
            rows = heapq.merge(*pages, key=lambda row: row.id, reverse=True)
            return m.ExecutionRows(rows=tuple(rows)[: asked.limit])
        case m.CountExecutions():
            counts: Counter[Any] = Counter()
            for answer in answers:
                counts.update(answer.counts)
            return m.ExecutionCounts(counts=dict(sorted(counts.items())))
        case m.GetRecords():
            pages = [answer.records for answer in answers]
            records = heapq.merge(*pages, key=lambda record: record.key)
            return m.Records(records=tuple(records)[: asked.limit])
        case m.GetRuntime():
            return _one_view(answers)
        case m.BeginDrain() | m.Drain():
            return m.Drained(attempts=sum(answer.attempts for answer in answers))
        case m.StopRuntime():
            return m.Done()
        case _:
            raise ProtocolError(f"no shards are asked for {type(asked).__name__} together")


def _one_archive(views: Sequence[m.ArchiveView]) -> m.ArchiveView | None:
    """How far the archives of all shards have come together."""
    if not views:
        return None
    return replace(
        views[0],
        shipped=sum(view.shipped for view in views),
        committed=sum(view.committed for view in views),
        behind_ms=max(view.behind_ms for view in views),
        held=sum(view.held for view in views),
        trouble=next((view.trouble for view in views if view.trouble), ""),
    )


def _one_view(views: Sequence[m.RuntimeView]) -> m.RuntimeView:
    """A runtime whose gateway is there once every shard knows it."""
    home = views[0]
    known = all(view.gateway_url for view in views)
    return replace(
        home,
        workers=tuple(worker for view in views for worker in view.workers),
        gateway_url=home.gateway_url if known else "",
        followers=min(view.followers for view in views),
        archive=_one_archive([view.archive for view in views if view.archive is not None]),
        shards=tuple(views),
    )
