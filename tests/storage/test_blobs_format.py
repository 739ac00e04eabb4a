"""The packed form: what it costs, and that no field of it is trusted."""

from __future__ import annotations

import random
import struct
import zlib

import pytest
import zstandard

from omium.errors import CorruptBlob
from omium.execution.blobref import BlobRef
from omium.storage.packing import COMPRESSION_LEVEL, HEADER_BYTES, pack, unpack

CONTENT = b"words that repeat, " * 100
CODEC_OFFSET, SIZE_OFFSET, PAYLOAD_SIZE_OFFSET = 5, 8, 16


def packed(data: bytes) -> tuple[BlobRef, bytes]:
    return pack(data, COMPRESSION_LEVEL)


def resealed(body: bytes, offset: int, value: bytes) -> bytes:
    """``body`` with a changed header field and a header checksum that is right again."""
    header = body[:offset] + value + body[offset + len(value) : HEADER_BYTES - 4]
    return header + struct.pack("<I", zlib.crc32(header)) + body[HEADER_BYTES:]


def with_payload(body: bytes, payload: bytes) -> bytes:
    size = struct.pack("<Q", len(payload))
    return resealed(body, PAYLOAD_SIZE_OFFSET, size)[:HEADER_BYTES] + payload


def test_what_compresses_is_compressed() -> None:
    ref, body = packed(CONTENT)
    assert len(body) < len(CONTENT) / 10
    assert unpack(body, ref) == CONTENT


@pytest.mark.parametrize("data", [b"", b"short", random.Random(1).randbytes(5_000)])
def test_what_does_not_compress_costs_the_header_only(data: bytes) -> None:
    ref, body = packed(data)
    assert len(body) == HEADER_BYTES + len(data)
    assert unpack(body, ref) == data


def test_the_form_is_stable() -> None:
    # A stored blob outlives the code that wrote it: these bytes must stay readable.
    ref = BlobRef(
        digest="sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", size=5
    )
    body = bytes.fromhex(
        "4f4d424c0100000005000000000000000500000000000000"
        "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
        "a586044d"
        "68656c6c6f"
    )
    assert unpack(body, ref) == b"hello"
    assert packed(b"hello") == (ref, body)


@pytest.mark.parametrize("data", [CONTENT, b"short"])
def test_a_payload_of_another_length_is_named_as_such(data: bytes) -> None:
    ref, body = packed(data)
    for damaged in (body[:-1], body + b"\0"):
        with pytest.raises(CorruptBlob, match="bytes of payload"):
            unpack(damaged, ref)


def test_an_unknown_codec_is_named() -> None:
    ref, body = packed(CONTENT)
    with pytest.raises(CorruptBlob, match="unknown codec 7"):
        unpack(resealed(body, CODEC_OFFSET, b"\x07"), ref)


def test_the_wrong_codec_is_found() -> None:
    ref, body = packed(CONTENT)
    with pytest.raises(CorruptBlob, match="content of sha256:"):
        unpack(resealed(body, CODEC_OFFSET, b"\x00"), ref)
    ref, body = packed(b"short")
    with pytest.raises(CorruptBlob):
        unpack(resealed(body, CODEC_OFFSET, b"\x01"), ref)


def test_a_header_of_another_size_is_found() -> None:
    ref, body = packed(CONTENT)
    with pytest.raises(CorruptBlob, match="holds 1 bytes of content"):
        unpack(resealed(body, SIZE_OFFSET, struct.pack("<Q", 1)), ref)


def test_a_frame_that_claims_a_huge_size_is_not_allocated() -> None:
    ref, body = packed(CONTENT)
    # Magic, then a descriptor with an 8-byte content size, then a size of 2**60 bytes.
    claim = zstandard.FRAME_HEADER + bytes([0b1110_0000]) + struct.pack("<Q", 1 << 60)
    with pytest.raises(CorruptBlob, match="frame of another size"):
        unpack(with_payload(body, claim + b"\0" * 16), ref)


def test_a_frame_without_a_size_is_refused() -> None:
    ref, body = packed(CONTENT)
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(CONTENT)
    with pytest.raises(CorruptBlob, match="frame of another size"):
        unpack(with_payload(body, frame), ref)


def test_a_frame_of_other_content_is_found() -> None:
    ref, body = packed(CONTENT)
    other = zstandard.ZstdCompressor().compress(CONTENT[::-1])
    with pytest.raises(CorruptBlob, match="content of sha256:"):
        unpack(with_payload(body, other), ref)
