"""The client for async code."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from omium.client import streams
from omium.client.credentials import connection_of
from omium.client.pages import listed
from omium.client.shapes import (
    ApiKey,
    Checkpoint,
    CodeInfo,
    Delivery,
    Event,
    Execution,
    ExecutionInfo,
    Question,
    Webhook,
    WorkflowInfo,
    WorkflowVersion,
)
from omium.client.transport import Transport
from omium.errors import DeadlineExceeded, DefinitionError, InputError, NotFound
from omium.execution.records import Decision
from omium.storage.code_bundle import Bundle, pack
from omium.types import Json, Status

_T = TypeVar("_T")

RETRY_S = 60.0
"""A service that is started again takes some ten seconds."""

WAIT_S = 25.0
UPLOAD_TIMEOUT_S = 180.0
PAGE = 100


class _Pending(msgspec.Struct):
    execution: str
    status: Status


class _Result(msgspec.Struct):
    execution: str
    status: Status
    output: Any = None


class _State(msgspec.Struct):
    state: Any = None


class AsyncClient:
    """A service at ``address``, which defaults to the setting ``address`` (``OMIUM_ADDRESS``).

    ``api_key`` defaults to ``OMIUM_API_KEY``, then to the one that ``omium up`` has stored for
    that address. Requests that fail for a passing reason are made again for ``retry_s``
    seconds; each that changes something carries an idempotency key, so that it has the effect
    of one. Every method raises the errors of ``omium.errors``, ``Unavailable`` when the service
    stays away, and ``PermissionRefused`` when the key is wrong or too weak.
    """

    def __init__(
        self,
        address: str | None = None,
        api_key: str | None = None,
        *,
        retry_s: float = RETRY_S,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        address, api_key = connection_of(address, api_key)
        self._retry_s = retry_s
        self._transport = Transport(address, api_key, retry_s=retry_s, transport=transport)

    @property
    def address(self) -> str:
        return self._transport.address

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._transport.close()

    # ------------------------------------------------------------------ workflows

    async def register(
        self, definition: Mapping[str, Any] | Path | str, *, code: CodeInfo | None = None
    ) -> WorkflowVersion:
        """Register a version of a workflow: a definition, or the path of its file.

        It runs for ever on what the service's folders hold now, or on ``code`` that was uploaded.
        The same again changes nothing. Raises ``DefinitionError`` with every mistake, and
        ``Conflict`` when that version has another definition or other code already.
        """
        params = {"code": code.digest if code is not None else None}
        if isinstance(definition, Mapping):
            return await self._transport.ask(
                WorkflowVersion,
                "POST",
                "/v1/workflows",
                params=params,
                body={"definition": dict(definition)},
            )
        try:
            content = await asyncio.to_thread(Path(definition).read_bytes)
        except OSError as error:
            raise InputError(f"cannot read {str(definition)!r}: {error.strerror}") from error
        try:
            return await self._transport.ask(
                WorkflowVersion,
                "POST",
                "/v1/workflows",
                params=params,
                content=content,
                headers={"content-type": "application/yaml"},
            )
        except DefinitionError as error:
            raise DefinitionError(str(definition), error.problems) from error

    async def upload_code(self, code: Path | str | Bundle) -> CodeInfo:
        """Upload the content of a folder, or a bundle that was made of several, unless it is
        there. What of a folder is left out is said in the guide, "Bring your own code".

        Raises ``InputError`` for a folder that is too large or cannot be read, ``Conflict`` where
        the tenant has as much code as it may, and ``PermissionRefused`` where it may bring none.
        """
        bundle = code
        if not isinstance(bundle, Bundle):
            bundle = await asyncio.to_thread(pack, [Path(bundle)])
        sha256 = hashlib.sha256(bundle.data)
        with suppress(NotFound):
            return await self._transport.ask(CodeInfo, "GET", f"/v1/code/{sha256.hexdigest()}")
        digest = base64.b64encode(sha256.digest()).decode()
        return await self._transport.ask(
            CodeInfo,
            "POST",
            "/v1/code",
            content=bundle.data,
            headers={"content-type": "application/zip", "content-digest": f"sha-256=:{digest}:"},
            timeout_s=UPLOAD_TIMEOUT_S,
        )

    async def workflow(self, name: str, version: str | None = None) -> WorkflowVersion:
        """A workflow's latest version, or the one named. Raises ``NotFound``."""
        path = f"/v1/workflows/{_quoted(name)}"
        if version is not None:
            path += f"/versions/{_quoted(version)}"
        return await self._transport.ask(WorkflowVersion, "GET", path)

    def workflows(self) -> AsyncGenerator[WorkflowInfo]:
        """All workflows, by name."""
        return self._listed(WorkflowInfo, "/v1/workflows", "workflows")

    # ------------------------------------------------------------------ executions

    async def run(
        self,
        workflow: str,
        inputs: Mapping[str, Json] | None = None,
        *,
        version: str | None = None,
        model: str | None = None,
        labels: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncHandle:
        """Start an execution of a registered workflow; returns once it is durable.

        The same ``idempotency_key`` with the same arguments gives the same execution for ever;
        with others it raises ``RequestConflict``. Raises ``NotFound`` and ``InputError``.
        """
        chosen = {"version": version, "model": model, "labels": labels}
        body = {
            "workflow": workflow,
            "inputs": inputs or {},
            **{name: value for name, value in chosen.items() if value is not None},
        }
        pending = await self._transport.ask(
            _Pending,
            "POST",
            "/v1/executions",
            body=body,
            headers=_named(idempotency_key),
        )
        return AsyncHandle(self._transport, pending.execution, retry_s=self._retry_s)

    def execution(self, execution_id: str) -> AsyncHandle:
        """The handle of an execution that exists. Asks nobody."""
        return AsyncHandle(self._transport, execution_id, retry_s=self._retry_s)

    def executions(
        self,
        *,
        statuses: Iterable[Status] = (),
        workflow: str | None = None,
        id_prefix: str | None = None,
        labels: Mapping[str, str] | None = None,
        created_from: str | None = None,
        created_to: str | None = None,
    ) -> AsyncGenerator[ExecutionInfo]:
        """Executions, the newest first. Times are RFC 3339 texts."""
        return self._listed(
            ExecutionInfo,
            "/v1/executions",
            "executions",
            status=list(statuses) or None,
            workflow=workflow,
            id_prefix=id_prefix,
            label=[f"{name}:{value}" for name, value in (labels or {}).items()] or None,
            created_from=created_from,
            created_to=created_to,
        )

    # ------------------------------------------------------------------ keys

    async def create_key(self, name: str, scopes: Iterable[str]) -> ApiKey:
        """Make an API key of the own tenant. Its ``secret`` is shown this once."""
        return await self._transport.ask(
            ApiKey,
            "POST",
            "/v1/keys",
            body={"name": name, "scopes": list(scopes)},
            headers=_named(None),
        )

    def keys(self) -> AsyncGenerator[ApiKey]:
        """The keys of the own tenant, revoked ones too."""
        return self._listed(ApiKey, "/v1/keys", "keys")

    async def revoke_key(self, key_id: str) -> ApiKey:
        """Revoke a key; it opens nothing after a second at most. Raises ``NotFound``."""
        return await self._transport.ask(ApiKey, "DELETE", f"/v1/keys/{_quoted(key_id)}")

    # ------------------------------------------------------------------ webhooks

    async def create_webhook(
        self, url: str, events: Iterable[str] = (), *, description: str = ""
    ) -> Webhook:
        """Have ``url`` told of events, such as ``execution.failed``; of all that there are where
        none is named. The webhook's ``secret`` is shown this once."""
        body: dict[str, Any] = {"url": url, "description": description}
        if wanted := list(events):
            body["events"] = wanted
        return await self._transport.ask(
            Webhook, "POST", "/v1/webhooks", body=body, headers=_named(None)
        )

    def webhooks(self) -> AsyncGenerator[Webhook]:
        """The webhooks of the own tenant, by id."""
        return self._listed(Webhook, "/v1/webhooks", "webhooks")

    async def webhook(self, webhook_id: str) -> Webhook:
        """A webhook, without its secret. Raises ``NotFound``."""
        return await self._transport.ask(Webhook, "GET", _webhook_path(webhook_id))

    async def delete_webhook(self, webhook_id: str) -> Webhook:
        """Delete a webhook, its log, and what it was still to be told. Raises ``NotFound``."""
        return await self._transport.ask(Webhook, "DELETE", _webhook_path(webhook_id))

    async def rotate_webhook(self, webhook_id: str) -> Webhook:
        """Give a webhook a new ``secret``, shown this once; the old one signs beside it for a
        day. Raises ``NotFound``."""
        return await self._transport.ask(
            Webhook, "POST", f"{_webhook_path(webhook_id)}/rotate", headers=_named(None)
        )

    async def test_webhook(self, webhook_id: str) -> Delivery:
        """Send a trial message. Raises ``NotFound``."""
        return await self._transport.ask(
            Delivery, "POST", f"{_webhook_path(webhook_id)}/test", headers=_named(None)
        )

    def deliveries(self, webhook_id: str) -> AsyncGenerator[Delivery]:
        """What was sent to a webhook, by the id of the message. Raises ``NotFound``."""
        return self._listed(Delivery, f"{_webhook_path(webhook_id)}/deliveries", "deliveries")

    async def redeliver(self, webhook_id: str, delivery_id: str) -> Delivery:
        """Send a message once more, with all tries before it. Raises ``NotFound``, and
        ``Conflict`` for one that is on its way."""
        path = f"{_webhook_path(webhook_id)}/deliveries/{_quoted(delivery_id)}/redeliver"
        return await self._transport.ask(Delivery, "POST", path, headers=_named(None))

    def _listed(self, item: type[_T], path: str, member: str, **params: Any) -> AsyncGenerator[_T]:
        return listed(self._transport, item, path, member, params={"limit": PAGE, **params})


class AsyncHandle:
    """An execution. All of it survives in its journal; a handle can be made again by id."""

    def __init__(self, transport: Transport, execution_id: str, *, retry_s: float) -> None:
        self.id = execution_id
        self._transport = transport
        self._retry_s = retry_s
        self._path = f"/v1/executions/{_quoted(execution_id)}"

    def __repr__(self) -> str:
        return f"AsyncHandle({self.id!r})"

    async def view(self) -> Execution:
        """The execution as it stands. Raises ``NotFound``."""
        return await self._transport.ask(Execution, "GET", self._path)

    async def status(self) -> Status:
        return (await self.view()).status

    async def events(self, after: int = 0, *, live: bool = False) -> AsyncGenerator[Event]:
        """The journal after an index, as it is and as it grows, until the execution has ended.

        Each entry comes once and in order, through lost connections and restarts of the
        service. With ``live``, pieces of answers come too, which the entry that follows
        supersedes. A pause is waited through.
        """
        following = streams.follow(
            self._transport, f"{self._path}/events", after, live=live, retry_s=self._retry_s
        )
        async with aclosing(following) as events:
            async for event in events:
                yield event

    async def result(self, timeout_s: float | None = None) -> Json:
        """Wait for the end and return the output.

        Raises ``ExecutionFailed``, ``ExecutionPaused`` or ``ExecutionCancelled``, and
        ``DeadlineExceeded`` after ``timeout_s`` seconds. The service may come and go meanwhile:
        ``Unavailable`` is raised when it has been away for the client's ``retry_s`` seconds.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    found = await self._transport.ask(
                        _Result,
                        "GET",
                        f"{self._path}/result",
                        params={"wait": "true", "timeout_s": WAIT_S},
                        timeout_s=WAIT_S + 30,
                        patient=True,
                    )
                    if found.status == "completed":
                        return found.output
        except TimeoutError as error:
            raise DeadlineExceeded(f"execution {self.id}", timeout_s or 0) from error

    async def cancel(self) -> Execution:
        """Stop it for good. Raises ``Conflict`` when it has ended otherwise."""
        return await self._act("cancel")

    async def interrupt(self, detail: str = "") -> Execution:
        """Pause it until it is resumed."""
        return await self._act("interrupt", {"detail": detail})

    async def resume(
        self,
        *,
        decision: Decision | None = None,
        answer: Json = None,
        call: int | None = None,
        reason: str = "",
    ) -> Execution:
        """Let it go on, with a decision where it waits for one.

        That is about the call at journal index ``call``, else about the first that waits.
        """
        body: dict[str, Any] = {} if decision is None else {"decision": decision}
        if decision == "answer":
            body["answer"] = answer
        if call is not None:
            body["call"] = call
        if reason:
            body["reason"] = reason
        return await self._act("resume", body)

    async def questions(self) -> tuple[Question, ...]:
        """What its agents ask and nobody has answered yet."""
        return (await self.view()).questions

    async def answer(self, value: Json, *, call: int | None = None) -> Execution:
        """Answer a question, or run a tool that wants approval with other arguments.

        Raises ``AnswerError`` where that does not fit, and ``Conflict`` where nobody asks.
        """
        return await self.resume(decision="answer", answer=value, call=call)

    async def approve(self, *, call: int | None = None, reason: str = "") -> Execution:
        """Approve of running a tool, once, with the arguments that are shown."""
        return await self.resume(decision="approve", call=call, reason=reason)

    async def deny(self, reason: str = "", *, call: int | None = None) -> Execution:
        """Refuse to run a tool, or to answer: the agent is told so, and goes on."""
        return await self.resume(decision="deny", call=call, reason=reason)

    async def retry(self) -> Execution:
        """Try again what failed, from the last checkpoint."""
        return await self._act("retry")

    async def signal(self, name: str, payload: Json = None) -> Execution:
        """Send data to it. Raises ``Conflict`` when it has ended."""
        return await self._act("signal", {"name": name, "payload": payload})

    async def fork(self, at: int, changes: Mapping[str, Json] | None = None) -> AsyncHandle:
        """Start a new execution from a point in this one's journal, which is only read."""
        pending = await self._transport.ask(
            _Pending,
            "POST",
            f"{self._path}/fork",
            body={"at": at, "changes": dict(changes or {})},
            headers=_named(None),
        )
        return AsyncHandle(self._transport, pending.execution, retry_s=self._retry_s)

    def checkpoints(self) -> AsyncGenerator[Checkpoint]:
        """Its checkpoints, in the order of the journal."""
        path = f"{self._path}/checkpoints"
        return listed(self._transport, Checkpoint, path, "checkpoints", by="after")

    async def state(self, checkpoint: int) -> Json:
        """The state that a checkpoint holds. Raises ``NotFound``."""
        found = await self._transport.ask(_State, "GET", f"{self._path}/checkpoints/{checkpoint}")
        return found.state

    async def blob(self, digest: str) -> Json:
        """A value that the journal refers to by ``digest``, such as ``sha256:9f86…``. Raises
        ``NotFound`` and ``Unavailable``."""
        name = _quoted(digest.removeprefix("sha256:"))
        anything: Any = Any
        return await self._transport.ask(anything, "GET", f"{self._path}/blobs/{name}")

    def journal(self, after: int = 0) -> AsyncGenerator[dict[str, Any]]:
        """Journal entries after an index, as they are now."""
        begin, kind = {"after": after}, dict[str, Any]
        path = f"{self._path}/journal"
        return listed(self._transport, kind, path, "entries", params=begin, by="after")

    async def _act(self, verb: str, body: Any = None) -> Execution:
        return await self._transport.ask(
            Execution, "POST", f"{self._path}/{verb}", body=body, headers=_named(None)
        )


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _webhook_path(webhook_id: str) -> str:
    return f"/v1/webhooks/{_quoted(webhook_id)}"


def _named(key: str | None) -> dict[str, str]:
    """A name for a request, so that one that is sent again has the effect of one."""
    return {"idempotency-key": key or secrets.token_urlsafe(18)}
