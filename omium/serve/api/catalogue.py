"""The workflows of tenants: versions that never change, and an index of them by name.

A version is a record of kind ``workflow`` under ``name@version``. The index, a record of kind
``workflow_index`` under ``name``, lists the versions in the order of their registration; it is
written second, so that every version that it names is there.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import msgspec

from omium.actors.client import Client
from omium.definitions import Workflow, workflow_from_data
from omium.errors import Conflict, NotFound
from omium.serve.api.problems import limited
from omium.serve.api.settings import ApiSettings
from omium.types import TenantId

KIND = "workflow"
INDEX_KIND = "workflow_index"
VERSIONS_MAX = 1_000
CACHED_MAX = 256
_TRIES = 32


class VersionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A version in the index of its workflow."""

    version: str
    digest: str
    registered_ms: int


class WorkflowIndex(msgspec.Struct, frozen=True, kw_only=True):
    """All versions of a workflow by registration, the latest last, with its description."""

    name: str
    versions: tuple[VersionRow, ...]
    description: str | None = None

    @property
    def latest(self) -> VersionRow:
        return self.versions[-1]


@dataclass(frozen=True, kw_only=True)
class Registered:
    """A version as it is stored; ``created`` says that it was not there before."""

    workflow: Workflow
    digest: str
    registered_ms: int
    created: bool = False


class Catalogue:
    """See the module's docstring. What never changes is kept in memory, bounded."""

    def __init__(self, settings: ApiSettings) -> None:
        self._settings = settings
        self._known: OrderedDict[tuple[TenantId, str], Registered] = OrderedDict()

    async def register(self, client: Client, workflow: Workflow) -> Registered:
        """Store a version, for ever. The same definition again changes nothing; another one of
        that version raises ``Conflict``."""
        key, digest = f"{workflow.name}@{workflow.version}", workflow.digest
        index = await self._index(client, workflow.name)
        if index is not None and len(index[0].versions) >= VERSIONS_MAX:
            raise limited(
                "versions_max",
                VERSIONS_MAX,
                f"workflow {workflow.name!r} has {VERSIONS_MAX} versions already",
                kind="limit_reached",
            )
        body = {"definition": workflow.to_data(), "digest": digest}
        created = True
        try:
            await client.put_record(KIND, key, body, expect=0)
        except Conflict:
            created = False
        stored = await client.record(KIND, key)
        if stored is None:
            raise NotFound("workflow", key)
        if stored.body["digest"] != digest:
            raise Conflict(
                f"workflow {key} is registered with another definition, {stored.body['digest']}: "
                "give this one another version"
            )
        row = VersionRow(version=workflow.version, digest=digest, registered_ms=stored.at_ms)
        await self._enlist(client, workflow, row)
        return Registered(
            workflow=workflow, digest=digest, registered_ms=stored.at_ms, created=created
        )

    async def get(self, client: Client, name: str, version: str | None = None) -> Registered:
        """A version of a workflow, the latest where none is named. Raises ``NotFound``."""
        if version is None:
            version = (await self.index(client, name)).latest.version
        key = f"{name}@{version}"
        place = (client.tenant, key)
        found = self._known.get(place)
        if found is not None:
            self._known.move_to_end(place)
            return found
        record = await client.record(KIND, key) if "@" not in name else None
        if record is None:
            raise NotFound("workflow", key)
        found = Registered(
            workflow=workflow_from_data(record.body["definition"], source=f"workflow {key}"),
            digest=record.body["digest"],
            registered_ms=record.at_ms,
        )
        self._known[place] = found
        if len(self._known) > CACHED_MAX:
            self._known.popitem(last=False)
        return found

    async def index(self, client: Client, name: str) -> WorkflowIndex:
        """The versions of a workflow. Raises ``NotFound``."""
        found = await self._index(client, name)
        if found is None:
            raise NotFound("workflow", name)
        return found[0]

    async def page(self, client: Client, *, after: str, limit: int) -> list[WorkflowIndex]:
        """The workflows of a tenant by name, those after ``after``."""
        records = await client.records(INDEX_KIND, after=after, limit=limit)
        return [_index_of(record.body) for record in records]

    async def _index(self, client: Client, name: str) -> tuple[WorkflowIndex, int] | None:
        record = await client.record(INDEX_KIND, name)
        return (_index_of(record.body), record.version) if record is not None else None

    async def _enlist(self, client: Client, workflow: Workflow, row: VersionRow) -> None:
        """Add a version to the index, unless it is there. Whoever was quicker comes first."""
        for _ in range(_TRIES):
            found = await self._index(client, workflow.name)
            rows = found[0].versions if found is not None else ()
            if any(known.version == row.version for known in rows):
                return
            # By time and not by arrival: a registration that was cut off half-way and sent
            # again later is no newer than those that came between.
            rows = tuple(sorted((*rows, row), key=lambda r: (r.registered_ms, r.version)))
            description = found[0].description if found is not None else None
            if rows[-1] is row:
                description = workflow.description
            index = WorkflowIndex(name=workflow.name, versions=rows, description=description)
            try:
                await client.put_record(
                    INDEX_KIND,
                    workflow.name,
                    msgspec.to_builtins(index),
                    expect=found[1] if found is not None else 0,
                )
            except Conflict:
                continue
            return
        raise Conflict(f"workflow {workflow.name!r} is being registered by many: try again")


def _index_of(body: Any) -> WorkflowIndex:
    return msgspec.convert(body, WorkflowIndex)
