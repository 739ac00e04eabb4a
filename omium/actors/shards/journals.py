"""The journals of a data directory as one, read beside whoever may be writing them."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from omium.actors.shards.opening import recorded_shards, shard_folder
from omium.actors.shards.placement import HOME, shard_of
from omium.errors import NotFound
from omium.storage.journal import ExecutionRow, Journal
from omium.storage.replica import FILE_NAME
from omium.types import ExecutionId, Status, TenantId


class Journals:
    """The journals of every shard, by number; those in which nothing has run yet are left out."""

    def __init__(self, journals: Mapping[int, Journal], shards: int) -> None:
        self._journals = journals
        self._shards = shards

    @classmethod
    def open(cls, data_dir: Path) -> Journals:
        """Open what there is. Raises as ``Journal.open``, and ``CorruptRecord`` where it is not
        known how many shards there are."""
        shards = recorded_shards(data_dir)
        journals: dict[int, Journal] = {}
        for shard in range(shards):
            path = shard_folder(data_dir, shard) / FILE_NAME
            # The home shard's tells what is wrong where there is none.
            if shard == HOME or path.exists():
                journals[shard] = Journal.open(path)
        return cls(journals, shards)

    def close(self) -> None:
        for journal in self._journals.values():
            journal.close()

    def of(self, execution_id: str) -> Journal:
        """The journal in which an execution is, if anywhere."""
        shard = shard_of(execution_id, self._shards)
        # One that is nowhere is not in another one's either.
        return self._journals.get(shard, self._journals[HOME])

    def executions(self, *, limit: int = 50, **filters: Any) -> list[ExecutionRow]:
        """Executions of all shards, the newest first; see ``Journal.executions``."""
        pages = [j.executions(limit=limit, **filters) for j in self._journals.values()]
        merged = heapq.merge(*pages, key=lambda row: row.id, reverse=True)
        return list(islice(merged, max(limit, 0)))

    def counts(self, tenant: TenantId | None = None) -> dict[Status, int]:
        """How many executions have which status; see ``Journal.counts``."""
        counts: Counter[Status] = Counter()
        for journal in self._journals.values():
            counts.update(journal.counts(tenant))
        return dict(sorted(counts.items()))

    def find(self, prefix: str) -> ExecutionId:
        """The one execution whose id is or begins with ``prefix``. Raises ``NotFound``."""
        if len(self._journals) == 1:
            return self._journals[HOME].find(prefix)
        rows = self.executions(tenant=None, execution_id=prefix, limit=1)
        rows = rows or self.executions(tenant=None, id_prefix=prefix, limit=2)
        if len(rows) != 1:
            hint = "more than one begins so" if rows else "`omium ps` lists what there is"
            raise NotFound("execution", prefix, hint)
        return rows[0].id
