"""The workflows of tenants: versions that never change, and an index of them by name.

A version is a record of kind ``workflow`` under ``name@version``, and pinned to the code that was
there when it was registered: a bundle that is stored before the record that names it. The index,
a record of kind ``workflow_index`` under ``name``, lists the versions in the order of their
registration; it is written last, so that every version that it names is there.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import msgspec

from omium.actors.client import Client
from omium.definitions import Workflow, workflow_from_data
from omium.definitions.changes import parts_that_differ
from omium.errors import Conflict, NotFound
from omium.execution.records import CodeRef
from omium.serve.api.problems import ProblemError, limited
from omium.serve.api.settings import ApiSettings
from omium.storage.catalog import StoredRecord
from omium.storage.code_bundle import Bundle, Changes, changes_between, digest_of, names_in_words
from omium.types import TenantId

KIND = "workflow"
INDEX_KIND = "workflow_index"
VERSIONS_MAX = 1_000
CACHED_MAX = 256
CHANGES_MAX = 100
"""So many names of what differs are told, of each kind."""

_TRIES = 32


class VersionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A version in the index of its workflow; ``code`` is the digest of its bundle, if any."""

    version: str
    digest: str
    registered_ms: int
    code: str | None = None


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
    """A version as it is stored; ``created`` says that it was not there before.

    It is ``pinned`` to ``code``, the service's or ``uploaded``, or to having none but what is
    installed. One that an older Omium registered is not: it runs on what is in the service's
    folders.
    """

    workflow: Workflow
    digest: str
    registered_ms: int
    code: CodeRef | None = None
    uploaded: bool = False
    pinned: bool = True
    created: bool = False


class Catalogue:
    """See the module's docstring. What never changes is kept in memory, bounded."""

    def __init__(self, settings: ApiSettings) -> None:
        self._settings = settings
        self._known: OrderedDict[tuple[TenantId, str], Registered] = OrderedDict()

    async def register(
        self, client: Client, workflow: Workflow, bundle: Bundle | None, *, uploaded: bool = False
    ) -> Registered:
        """Store a version, for ever, with the code that it names, which may have been uploaded.

        The same definition and code again change nothing. Others of that version raise a
        ``conflict`` problem, whose member ``changes`` says what differs.
        """
        key = f"{workflow.name}@{workflow.version}"
        stored = await client.record(KIND, key)
        created = stored is None
        if stored is None:
            await self._check_room(client, workflow)
            body = {
                "definition": workflow.to_data(),
                "digest": workflow.digest,
                "code": msgspec.to_builtins(await client.put_code(bundle)),
                "uploaded": uploaded,
            }
            try:
                await client.put_record(KIND, key, body, expect=0)
            except Conflict:
                # Somebody was quicker.
                created = False
            stored = await client.record(KIND, key)
        if stored is None:
            raise NotFound("workflow", key)
        found = _registered(key, stored, created=created)
        await _check_same(client, found, workflow, bundle)
        await self._enlist(client, found)
        return found

    async def _check_room(self, client: Client, workflow: Workflow) -> None:
        index = await self._index(client, workflow.name)
        if index is not None and len(index[0].versions) >= VERSIONS_MAX:
            raise limited(
                "versions_max",
                VERSIONS_MAX,
                f"workflow {workflow.name!r} has {VERSIONS_MAX} versions already",
                kind="limit_reached",
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
        found = _registered(key, record)
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

    async def _enlist(self, client: Client, registered: Registered) -> None:
        """Add a version to the index, unless it is there. Whoever was quicker comes first."""
        workflow = registered.workflow
        row = VersionRow(
            version=workflow.version,
            digest=registered.digest,
            registered_ms=registered.registered_ms,
            code=registered.code.blob.digest if registered.code is not None else None,
        )
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


def _registered(key: str, record: StoredRecord, *, created: bool = False) -> Registered:
    body = record.body
    return Registered(
        workflow=workflow_from_data(body["definition"], source=f"workflow {key}"),
        digest=body["digest"],
        registered_ms=record.at_ms,
        code=msgspec.convert(body.get("code"), CodeRef | None),
        uploaded=body.get("uploaded", False),
        pinned="code" in body,
        created=created,
    )


async def _check_same(
    client: Client, there: Registered, workflow: Workflow, bundle: Bundle | None
) -> None:
    """Raise a ``conflict`` problem where a version that is there is not this one."""
    files = await _files_that_differ(client, there, bundle)
    differs = there.digest != workflow.digest
    if not differs and not files:
        return
    said: list[str] = []
    parts: tuple[str, ...] = ()
    if differs:
        parts = parts_that_differ(there.workflow.to_data(), workflow.to_data())
        said.append(f"another definition, {there.digest} ({names_in_words(parts)})")
    if files:
        said.append(f"other code ({files})")
    raise ProblemError(
        "conflict",
        f"workflow {workflow.name}@{workflow.version} is registered with {' and '.join(said)}: "
        "give this one another version",
        extra={"changes": _changes(parts, files)},
    )


async def _files_that_differ(client: Client, there: Registered, bundle: Bundle | None) -> Changes:
    if not there.pinned:
        return Changes()
    digest = digest_of(bundle.data) if bundle is not None else None
    if digest == (there.code.blob.digest if there.code is not None else None):
        return Changes()
    before = await client.code(there.code) if there.code is not None else None
    after = bundle.data if bundle is not None else None
    return await asyncio.to_thread(changes_between, before, after)


def _changes(parts: tuple[str, ...], files: Changes) -> dict[str, Any]:
    kinds = {"added": files.added, "changed": files.changed, "removed": files.removed}
    told = {"definition": parts, **kinds}
    return {
        "definition": parts[:CHANGES_MAX],
        "code": {kind: names[:CHANGES_MAX] for kind, names in kinds.items()},
        "left_out": sum(max(len(names) - CHANGES_MAX, 0) for names in told.values()),
    }
