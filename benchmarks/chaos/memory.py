"""How much memory the processes of each kind hold, over time: figures of samples, and no more."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

PART = 0.2
"""The part of the samples that make the first figure, and the last one."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The mean resident memory of the processes of a kind, ``at_s`` seconds after the start."""

    at_s: float
    rss_mb: float


def growth(samples: Sequence[Sample]) -> dict[str, float] | None:
    """The median at the beginning and at the end in MB, and the slope in MB a minute by Theil and
    Sen (the median over all pairs: a process that was just started does not bend it). None for
    fewer than two samples."""
    if len(samples) < 2:
        return None
    some = max(1, int(len(samples) * PART))
    slopes = [
        (later.rss_mb - earlier.rss_mb) / (later.at_s - earlier.at_s) * 60
        for place, earlier in enumerate(samples)
        for later in samples[place + 1 :]
        if later.at_s > earlier.at_s
    ]
    return {
        "rss_mb_first": round(statistics.median(one.rss_mb for one in samples[:some]), 1),
        "rss_mb_last": round(statistics.median(one.rss_mb for one in samples[-some:]), 1),
        "slope_mb_per_min": round(statistics.median(slopes), 2) if slopes else 0.0,
    }
