"""What the processes of a runtime are told when they are started. Crosses to other nodes as a
constructor argument, since an actor there has another environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omium.actors.link import Address
from omium.actors.shards.placement import HOME
from omium.actors.shipper import ShippingSettings
from omium.storage.archive import Archive
from omium.storage.blobs import BlobStore, open_blob_store
from omium.storage.object_urls import open_object_store
from omium.storage.objects import S3Options


@dataclass(frozen=True, kw_only=True)
class SeatPlace:
    """Where a seat of a group of coordinators is: its node, and its ports for clients and peers."""

    host: str
    port: int
    peer_port: int


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """What every process of one runtime is told.

    ``runtime_id`` is unique to this start of the runtime, or to the service that is kept.
    ``secret`` proves membership to the coordinator, ``api_key`` to the gateway. ``scratch_dir`` is
    for files that may vanish. ``webhook_hosts`` may be told of events beside the public internet's.
    What is committed is shipped to ``archive_url``, if that is anywhere, and with ``archive_first``
    before anybody is told of it; ``archive_keep`` copies are kept there. ``seats`` are the places
    of the coordinators of ``group``, empty where one is alone; ``forming`` until all were taken.
    All this is of one ``shard`` of ``shard_count``; ``further`` tell, in that of the home shard, of
    the others.
    """

    runtime_id: str
    host: str
    coordinator_port: int
    gateway_port: int
    secret: bytes
    api_key: str
    data_dir: Path
    scratch_dir: Path
    blobs_url: str
    s3: S3Options
    capacity: int
    driver_pid: int
    faults: str | None = None
    webhook_hosts: tuple[str, ...] = ()
    archive_url: str = ""
    archive_first: bool = False
    archive_keep: int = 2
    group: str = ""
    forming: bool = False
    seats: tuple[SeatPlace, ...] = ()
    shard: int = HOME
    shard_count: int = 1
    further: tuple[RuntimeConfig, ...] = ()

    @property
    def shards(self) -> tuple[RuntimeConfig, ...]:
        """What each shard is told, by number."""
        return (self, *self.further)

    @property
    def further_coordinators(self) -> Sequence[Sequence[Address]]:
        """Where the coordinators of the further shards may listen."""
        return tuple(shard.coordinator for shard in self.further)

    @property
    def coordinator(self) -> Sequence[Address]:
        """Where the coordinator may listen: of several the one that leads does."""
        if self.seats:
            return tuple((place.host, place.port) for place in self.seats)
        return ((self.host, self.coordinator_port),)

    @property
    def peers(self) -> tuple[Address, ...]:
        """Where the seats listen for one another."""
        return tuple((place.host, place.peer_port) for place in self.seats)

    @property
    def gateway_url(self) -> str:
        return f"http://{self.host}:{self.gateway_port}"

    def blobs(self) -> BlobStore:
        return open_blob_store(self.blobs_url, s3=self.s3)

    def shipping(self) -> ShippingSettings | None:
        """Where what is committed is shipped to, if anywhere."""
        if not self.archive_url:
            return None
        archive = Archive(open_object_store(self.archive_url, s3=self.s3))
        return ShippingSettings(
            archive=archive,
            url=self.archive_url,
            first=self.archive_first,
            copies_kept=self.archive_keep,
        )

    def __repr__(self) -> str:
        return f"RuntimeConfig({self.runtime_id})"
