"""Majorities, and joint majorities of two configurations (paper, sections 5.2, 5.3 and 6)."""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Mapping
from typing import Final

INFINITE_INDEX: Final = 2**64 - 1
"""What a majority of nobody has acknowledged. The neutral element of a joint majority."""


class VoteResult(enum.Enum):
    """How an election stands."""

    PENDING = "pending"
    LOST = "lost"
    WON = "won"


def committed_index(acknowledged: Iterable[int]) -> int:
    """The highest index that a majority has acknowledged.

    ``acknowledged`` has one index for each voter, 0 for one that acknowledged nothing.
    """
    ranked = sorted(acknowledged)
    return ranked[(len(ranked) - 1) // 2] if ranked else INFINITE_INDEX


def joint_committed_index(incoming: Iterable[int], outgoing: Iterable[int]) -> int:
    """The highest index that a majority of each of two configurations has acknowledged."""
    return min(committed_index(incoming), committed_index(outgoing))


def vote_result(voters: Collection[int], votes: Mapping[int, bool]) -> VoteResult:
    """How an election among ``voters`` stands; who did not answer is not in ``votes``.

    An election among nobody is won, so that an empty half of a joint configuration has no say.
    """
    granted = missing = 0
    for voter in voters:
        vote = votes.get(voter)
        if vote is None:
            missing += 1
        elif vote:
            granted += 1
    needed = len(voters) // 2 + 1
    if not voters or granted >= needed:
        return VoteResult.WON
    if granted + missing >= needed:
        return VoteResult.PENDING
    return VoteResult.LOST


def joint_vote_result(
    incoming: Collection[int], outgoing: Collection[int], votes: Mapping[int, bool]
) -> VoteResult:
    """How an election stands that must be won in both of two configurations."""
    results = (vote_result(incoming, votes), vote_result(outgoing, votes))
    if VoteResult.LOST in results:
        return VoteResult.LOST
    return VoteResult.PENDING if VoteResult.PENDING in results else VoteResult.WON
