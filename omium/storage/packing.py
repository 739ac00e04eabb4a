"""The packed form in which content is stored, and the name that it has by its content.

Owns the format, and every check of what is read back: a damaged object is named and never
served. Knows no store, no key and no tenant.

Stored form, little-endian, 60 bytes before the payload::

    0  magic b"OMBL"      8  size of the content   24  SHA-256 of the content
    4  format version    16  size of the payload   56  CRC-32 of bytes 0 to 55
    5  codec (0 raw, 1 zstd), then two zero bytes
"""

from __future__ import annotations

import hashlib
import struct
import threading
import zlib
from collections.abc import Callable

import zstandard

from omium.errors import CorruptBlob
from omium.execution.blobref import BlobRef

COMPRESSION_LEVEL = 3
"""zstandard's own default: past it, time grows much faster than the saving."""

FORMAT_VERSION = 1
_MAGIC = b"OMBL"
_RAW, _ZSTD = 0, 1
_HEADER = struct.Struct("<4sBBHQQ32s")
_CRC = struct.Struct("<I")
HEADER_BYTES = _HEADER.size + _CRC.size


def pack(data: bytes, compression_level: int) -> tuple[BlobRef, bytes]:
    """The name of ``data`` and the form in which it is stored."""
    digest = hashlib.sha256(data)
    codec, payload = _RAW, data
    compressed = _compressor(compression_level).compress(data)
    if len(compressed) < len(data):
        codec, payload = _ZSTD, compressed
    header = _HEADER.pack(
        _MAGIC, FORMAT_VERSION, codec, 0, len(data), len(payload), digest.digest()
    )
    ref = BlobRef(digest=f"sha256:{digest.hexdigest()}", size=len(data))
    return ref, b"".join((header, _CRC.pack(zlib.crc32(header)), payload))


_compressors = threading.local()


def _compressor(level: int) -> zstandard.ZstdCompressor:
    """One for each thread and level: making one takes as long as compressing a kilobyte."""
    made: dict[int, zstandard.ZstdCompressor] = _compressors.__dict__.setdefault("made", {})
    if level not in made:
        made[level] = zstandard.ZstdCompressor(level=level)
    return made[level]


def ref_in(body: bytes) -> BlobRef:
    """The name of the content that the stored form ``body`` says to hold; ``unpack`` checks
    that it does. Raises ``CorruptBlob`` for a body without a header."""
    if len(body) < HEADER_BYTES:
        raise CorruptBlob("", f"cut off after {len(body)} bytes, inside the header")
    _, _, _, _, size, _, digest = _HEADER.unpack_from(body)
    return BlobRef(digest=f"sha256:{digest.hex()}", size=size)


def unpack(body: bytes, ref: BlobRef) -> bytes:
    """The content in the stored form ``body``. Raises ``CorruptBlob`` unless it is ``ref``'s."""

    def corrupt(found: str) -> CorruptBlob:
        return CorruptBlob(ref.digest, found)

    if len(body) < HEADER_BYTES:
        raise corrupt(f"cut off after {len(body)} bytes, inside the header")
    magic, version, codec, _, size, payload_size, digest = _HEADER.unpack_from(body)
    if magic != _MAGIC:
        raise corrupt(f"starts with {magic!r}, not {_MAGIC!r}")
    if version != FORMAT_VERSION:
        raise corrupt(f"has format version {version}, this Omium reads {FORMAT_VERSION}")
    if zlib.crc32(body[: _HEADER.size]) != _CRC.unpack_from(body, _HEADER.size)[0]:
        raise corrupt("has a header whose checksum is wrong")
    if f"sha256:{digest.hex()}" != ref.digest:
        raise corrupt(f"holds the blob sha256:{digest.hex()}")
    if size != ref.size:
        raise corrupt(f"holds {size} bytes of content where {ref.size} are expected")
    payload = memoryview(body)[HEADER_BYTES:]
    if len(payload) != payload_size:
        raise corrupt(f"has {len(payload)} or more bytes of payload, of {payload_size} written")
    content = _decode(codec, payload, size, corrupt)
    found = hashlib.sha256(content).hexdigest()
    if f"sha256:{found}" != ref.digest:
        raise corrupt(f"has content of sha256:{found}")
    return content


def _decode(
    codec: int, payload: memoryview, size: int, corrupt: Callable[[str], CorruptBlob]
) -> bytes:
    if codec == _RAW:
        return bytes(payload)
    if codec != _ZSTD:
        raise corrupt(f"has the unknown codec {codec}")
    try:
        # The frame says how much it will allocate: a damaged one must not choose that freely.
        if zstandard.frame_content_size(payload) != size:
            raise corrupt("has a zstd frame of another size")
        return zstandard.ZstdDecompressor().decompress(payload, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise corrupt(f"does not decompress: {error}") from error
