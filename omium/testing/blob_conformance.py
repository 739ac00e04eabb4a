"""The laws of a blob store, stated once; every backend runs them all.

A backend's test module subclasses ``BlobStoreConformance`` under a name that pytest collects,
and overrides the fixture ``backend``. Needs pytest, pytest-asyncio in auto mode and hypothesis.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable
from typing import Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omium.errors import CorruptBlob, InputError, NotFound
from omium.execution.blobref import BlobRef
from omium.storage.blobs import BlobStore
from omium.storage.packing import HEADER_BYTES, pack
from omium.types import Json

LARGE_BYTES = 5_000_000
EXAMPLES = 25
WRITERS = 6
"""Writers that race for one key. SeaweedFS makes each loser wait for up to a second a writer."""

TENANT = "acme"
OTHER_TENANT = "globex"

# One store serves all examples: blobs are immutable, so that examples cannot disturb each other.
# The subclasses share each law on purpose; without a database, no backend replays examples that
# failed on another.
_ON_ONE_STORE = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.differing_executors,
    ],
)

_CONTENTS = {
    "empty": b"",
    "one byte": b"\0",
    "compressible": b"the same words again. " * 500,
    "incompressible": random.Random(7).randbytes(10_000),
    "large compressible": b"0123456789abcdef" * (LARGE_BYTES // 16),
    "large incompressible": random.Random(8).randbytes(LARGE_BYTES),
}

# A byte of each field: magic, version, codec, zeros, both sizes, digest, checksum.
_HEADER_FIELDS = (0, 4, 5, 6, 8, 16, 24, HEADER_BYTES - 1)

# The same laws for a payload that is stored raw and for one that is stored compressed.
_RAW_AND_COMPRESSED = pytest.mark.parametrize("kind", ["compressible", "incompressible"])

_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)


class BlobBackend(Protocol):
    """What the laws need of a backend besides the store itself."""

    def open(self, *, blob_bytes_max: int | None = None) -> BlobStore:
        """A new handle on the backend's objects; ``None`` keeps the default limit."""
        ...

    async def tamper(self, ref: BlobRef, *, tenant: str, change: Callable[[bytes], bytes]) -> None:
        """Replace the stored object, behind the store's back, by what ``change`` makes of it."""
        ...

    async def stored(self, *, tenant: str) -> list[str]:
        """The keys of all objects that are stored for ``tenant``."""
        ...


class BlobStoreConformance:
    """The laws. A subclass gives the fixture ``backend``: empty, and fresh for every test."""

    @pytest.fixture
    def backend(self) -> BlobBackend:
        raise NotImplementedError("a subclass names the backend under test")

    @pytest.fixture
    def store(self, backend: BlobBackend) -> BlobStore:
        return backend.open()

    @pytest.mark.parametrize("kind", _CONTENTS)
    async def test_content_comes_back_by_another_handle(
        self, backend: BlobBackend, kind: str
    ) -> None:
        data = _CONTENTS[kind]
        ref = await backend.open().put(data, tenant=TENANT)
        assert ref == BlobRef(digest=f"sha256:{hashlib.sha256(data).hexdigest()}", size=len(data))
        # Compared outside the assert: a failed comparison of megabytes is slow to explain.
        same = await backend.open().get(ref, tenant=TENANT) == data
        assert same
        await backend.open().verify(ref, tenant=TENANT)

    @_ON_ONE_STORE
    @given(data=st.binary(max_size=4_096))
    async def test_any_bytes_come_back(self, store: BlobStore, data: bytes) -> None:
        assert await store.get(await store.put(data, tenant=TENANT), tenant=TENANT) == data

    @_ON_ONE_STORE
    @given(value=_json)
    async def test_any_json_comes_back(self, store: BlobStore, value: Json) -> None:
        assert await store.get_json(await store.put_json(value, tenant=TENANT), tenant=TENANT) == (
            value
        )

    async def test_equal_json_has_one_name(self, store: BlobStore) -> None:
        first = await store.put_json({"b": [1, "é"], "a": None}, tenant=TENANT)
        second = await store.put_json({"a": None, "b": [1, "é"]}, tenant=TENANT)
        assert first == second
        assert await store.get(first, tenant=TENANT) == '{"a":null,"b":[1,"é"]}'.encode()

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": b"bytes"}, {"a": {1}}])
    async def test_what_json_cannot_carry_is_refused(
        self, backend: BlobBackend, store: BlobStore, value: Json
    ) -> None:
        with pytest.raises(InputError, match="JSON"):
            await store.put_json(value, tenant=TENANT)
        assert await backend.stored(tenant=TENANT) == []

    async def test_content_that_is_not_json_is_named(self, store: BlobStore) -> None:
        ref = await store.put(b"not json", tenant=TENANT)
        with pytest.raises(CorruptBlob, match="not JSON"):
            await store.get_json(ref, tenant=TENANT)

    @_RAW_AND_COMPRESSED
    async def test_a_second_put_stores_nothing_new(self, backend: BlobBackend, kind: str) -> None:
        data = _CONTENTS[kind]
        first = await backend.open().put(data, tenant=TENANT)
        keys = await backend.stored(tenant=TENANT)
        assert await backend.open().put(data, tenant=TENANT) == first
        assert await backend.stored(tenant=TENANT) == keys
        assert len(keys) == 1

    async def test_an_intact_copy_is_kept_whatever_its_compression(
        self, backend: BlobBackend, store: BlobStore
    ) -> None:
        data = _CONTENTS["incompressible"].hex().encode()
        ref = await store.put(data, tenant=TENANT)
        _, smaller = pack(data, 19)
        assert len(smaller) != len(await _stored_form(backend, ref))
        await _overwrite(backend, ref, smaller)
        assert await store.put(data, tenant=TENANT) == ref
        kept = await _stored_form(backend, ref) == smaller
        assert kept

    async def test_concurrent_puts_of_one_content_make_one_object(
        self, backend: BlobBackend
    ) -> None:
        data = _CONTENTS["incompressible"]
        refs = await asyncio.gather(
            *(backend.open().put(data, tenant=TENANT) for _ in range(WRITERS))
        )
        assert len(set(refs)) == 1
        assert len(await backend.stored(tenant=TENANT)) == 1
        assert await backend.open().get(refs[0], tenant=TENANT) == data

    async def test_tenants_share_nothing(self, backend: BlobBackend, store: BlobStore) -> None:
        ref = await store.put(b"mine", tenant=TENANT)
        assert not await store.exists(ref, tenant=OTHER_TENANT)
        with pytest.raises(NotFound):
            await store.get(ref, tenant=OTHER_TENANT)
        assert await store.put(b"mine", tenant=OTHER_TENANT) == ref
        await store.delete(ref, tenant=OTHER_TENANT)
        assert await store.get(ref, tenant=TENANT) == b"mine"
        assert await backend.stored(tenant=OTHER_TENANT) == []

    async def test_a_missing_blob_is_not_found(self, store: BlobStore) -> None:
        ref = BlobRef(digest="sha256:" + "0" * 64, size=3)
        assert not await store.exists(ref, tenant=TENANT)
        with pytest.raises(NotFound) as caught:
            await store.get(ref, tenant=TENANT)
        assert (caught.value.what, caught.value.name) == ("blob", ref.digest)
        with pytest.raises(NotFound):
            await store.verify(ref, tenant=TENANT)

    async def test_delete_removes_and_may_be_repeated(
        self, backend: BlobBackend, store: BlobStore
    ) -> None:
        ref = await store.put(b"gone soon", tenant=TENANT)
        assert await store.exists(ref, tenant=TENANT)
        await store.delete(ref, tenant=TENANT)
        await store.delete(ref, tenant=TENANT)
        assert not await store.exists(ref, tenant=TENANT)
        assert await backend.stored(tenant=TENANT) == []
        assert await store.put(b"gone soon", tenant=TENANT) == ref
        assert await store.get(ref, tenant=TENANT) == b"gone soon"

    @_RAW_AND_COMPRESSED
    async def test_any_flipped_bit_is_found(
        self, backend: BlobBackend, store: BlobStore, kind: str
    ) -> None:
        ref = await store.put(_CONTENTS[kind], tenant=TENANT)
        original = await _stored_form(backend, ref)
        # Every field of the header, and the start, the middle and the end of the payload.
        places = [*_HEADER_FIELDS, HEADER_BYTES, len(original) // 2, len(original) - 1]
        for place in places:
            await _overwrite(backend, ref, _with_flipped_bit(original, place))
            with pytest.raises(CorruptBlob) as caught:
                await store.get(ref, tenant=TENANT)
            assert caught.value.digest == ref.digest, place
            with pytest.raises(CorruptBlob):
                await store.verify(ref, tenant=TENANT)

    @_RAW_AND_COMPRESSED
    @pytest.mark.parametrize("kept", [0, 1, HEADER_BYTES - 1, HEADER_BYTES, -1])
    async def test_truncation_is_found_and_mended_by_the_next_put(
        self, backend: BlobBackend, store: BlobStore, kind: str, kept: int
    ) -> None:
        data = _CONTENTS[kind]
        ref = await store.put(data, tenant=TENANT)
        await backend.tamper(ref, tenant=TENANT, change=lambda body: body[:kept])
        with pytest.raises(CorruptBlob) as caught:
            await store.get(ref, tenant=TENANT)
        assert caught.value.digest == ref.digest
        assert await store.put(data, tenant=TENANT) == ref
        assert await store.get(ref, tenant=TENANT) == data

    @_RAW_AND_COMPRESSED
    async def test_trailing_bytes_are_found(
        self, backend: BlobBackend, store: BlobStore, kind: str
    ) -> None:
        ref = await store.put(_CONTENTS[kind], tenant=TENANT)
        await backend.tamper(ref, tenant=TENANT, change=lambda body: body + b"\0")
        with pytest.raises(CorruptBlob):
            await store.get(ref, tenant=TENANT)

    async def test_a_blob_in_the_place_of_another_is_found(
        self, backend: BlobBackend, store: BlobStore
    ) -> None:
        one = await store.put(b"content 1", tenant=TENANT)
        two = await store.put(b"content 2", tenant=TENANT)
        body = await _stored_form(backend, two)
        await _overwrite(backend, one, body)
        with pytest.raises(CorruptBlob, match=two.digest):
            await store.get(one, tenant=TENANT)

    async def test_a_reference_of_the_wrong_size_is_found(self, store: BlobStore) -> None:
        ref = await store.put(b"nine byte", tenant=TENANT)
        for size in (0, 8, 10):
            with pytest.raises(CorruptBlob, match="9 bytes of content"):
                await store.get(BlobRef(digest=ref.digest, size=size), tenant=TENANT)

    @pytest.mark.parametrize(
        ("offset", "value", "reason"), [(0, b"X", "starts with"), (4, b"\x09", "format version 9")]
    )
    async def test_another_format_is_named(
        self, backend: BlobBackend, store: BlobStore, offset: int, value: bytes, reason: str
    ) -> None:
        ref = await store.put(b"content", tenant=TENANT)
        await backend.tamper(
            ref, tenant=TENANT, change=lambda body: body[:offset] + value + body[offset + 1 :]
        )
        with pytest.raises(CorruptBlob, match=reason):
            await store.get(ref, tenant=TENANT)

    async def test_the_size_limit_is_exact(self, backend: BlobBackend) -> None:
        store = backend.open(blob_bytes_max=1_000)
        ref = await store.put(b"x" * 1_000, tenant=TENANT)
        with pytest.raises(InputError, match="1001 bytes is over the limit of 1000"):
            await store.put(b"x" * 1_001, tenant=TENANT)
        assert len(await backend.stored(tenant=TENANT)) == 1
        assert await store.get(ref, tenant=TENANT) == b"x" * 1_000

    @pytest.mark.parametrize(
        "tenant", ["", "Acme", "-a", "a" * 64, "a/b", "..", "../other", "a b", "a\n", "é"]
    )
    async def test_a_malformed_tenant_is_refused(
        self, backend: BlobBackend, store: BlobStore, tenant: str
    ) -> None:
        ref = await store.put(b"content", tenant=TENANT)
        for call in (store.get, store.exists, store.delete, store.verify):
            with pytest.raises(InputError, match="tenant"):
                await call(ref, tenant=tenant)
        with pytest.raises(InputError, match="tenant"):
            await store.put(b"content", tenant=tenant)

    @pytest.mark.parametrize(
        "digest", ["", "sha256:", "sha256:../../x", "md5:" + "0" * 64, "sha256:" + "A" * 64]
    )
    async def test_a_malformed_digest_is_refused(self, store: BlobStore, digest: str) -> None:
        ref = BlobRef(digest=digest, size=1)
        for call in (store.get, store.exists, store.delete, store.verify):
            with pytest.raises(InputError, match="digest"):
                await call(ref, tenant=TENANT)


def _with_flipped_bit(body: bytes, place: int) -> bytes:
    return body[:place] + bytes([body[place] ^ 0x10]) + body[place + 1 :]


async def _stored_form(backend: BlobBackend, ref: BlobRef) -> bytes:
    seen: list[bytes] = []

    def look(body: bytes) -> bytes:
        seen.append(body)
        return body

    await backend.tamper(ref, tenant=TENANT, change=look)
    return seen[0]


async def _overwrite(backend: BlobBackend, ref: BlobRef, body: bytes) -> None:
    await backend.tamper(ref, tenant=TENANT, change=lambda _: body)
