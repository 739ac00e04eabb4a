"""The transcripts of etcd-io/raft, obeyed to the letter, log lines aside; and some of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from omium.consensus import quorum
from omium.consensus.confchange import Changed, enter_joint, leave_joint, simple
from omium.consensus.tracker import ProgressTracker
from omium.errors import ConfChangeRefused
from tests.consensus import describe, transcripts
from tests.consensus.interaction import Group
from tests.consensus.transcripts import FOLDER, Command, check, files

OWN = Path(__file__).parent / "testdata"


def _transcripts(folder: str) -> pytest.MarkDecorator:
    found = [pytest.param(path, id=path.stem) for path in files(folder)]
    missing = pytest.mark.skip(reason=f"no transcripts of etcd-io/raft in {FOLDER / folder}")
    return pytest.mark.parametrize(
        "path", found or [pytest.param(FOLDER, id="missing", marks=missing)]
    )


@_transcripts("interaction")
def test_interaction(path: Path) -> None:
    check(path, Group().obey)


@pytest.mark.parametrize("path", sorted(OWN.glob("*.txt")), ids=lambda path: path.stem)
def test_own_interaction(path: Path, rewrite: bool) -> None:
    """Transcripts of ours, for what those of etcd leave out."""
    if rewrite:
        transcripts.rewrite(path, Group().obey)
    check(path, Group().obey)


# ---- changes of members


@_transcripts("confchange")
def test_confchange(path: Path) -> None:
    tracker = ProgressTracker(inflight_messages_max=10, inflight_bytes_max=10)
    last_index = -1

    def answer(command: Command) -> str:
        nonlocal last_index
        # The index tells by which command a member was added.
        last_index += 1
        try:
            tracker.adopt(*_changed(tracker, last_index, command))
        except ConfChangeRefused as refused:
            return describe.error(refused)
        members = describe.members(tracker.membership)
        return f"{members}\n{describe.progress(tracker.progress)}"

    check(path, answer)


def _changed(tracker: ProgressTracker, last_index: int, command: Command) -> Changed:
    changes = describe.changes_of(command.input)
    if command.name == "simple":
        return simple(tracker, last_index, changes)
    if command.name == "enter-joint":
        auto_leave = command.option("autoleave") == "true"
        return enter_joint(tracker, last_index, changes, auto_leave=auto_leave)
    assert command.name == "leave-joint", command
    assert not changes
    return leave_joint(tracker)


# ---- quorums


@_transcripts("quorum")
def test_quorum(path: Path) -> None:
    check(path, lambda command: {"committed": _committed, "vote": _vote}[command.name](command))


def _voters(command: Command) -> tuple[list[int], list[int], bool]:
    """Both halves of a configuration, and whether it is meant to be joint."""
    outgoing = [] if command.option("cfgj") == "zero" else list(command.numbers("cfgj"))
    return list(command.numbers("cfg")), outgoing, "cfgj" in command.options


def _known(command: Command, option: str, voters: list[int]) -> dict[int, str]:
    """What is known of each voter; one that is in both halves is told of once."""
    values = command.options.get(option, ())
    named = dict(zip(dict.fromkeys(voters), values, strict=True))
    return {voter: value for voter, value in named.items() if value != "_"}


def _committed(command: Command) -> str:
    incoming, outgoing, joint = _voters(command)
    known = _known(command, "idx", incoming + outgoing)
    indexes = {voter: int(value) for voter, value in known.items()}
    halves = [[indexes.get(voter, 0) for voter in half] for half in (incoming, outgoing)]
    if joint:
        found = quorum.joint_committed_index(*halves)
        assert found == quorum.joint_committed_index(*reversed(halves))
    else:
        found = quorum.committed_index(halves[0])
    return describe.bars({*incoming, *outgoing}, indexes) + describe.index(found)


def _vote(command: Command) -> str:
    incoming, outgoing, joint = _voters(command)
    known = _known(command, "votes", incoming + outgoing)
    votes = {voter: value == "y" for voter, value in known.items()}
    if joint:
        found = quorum.joint_vote_result(incoming, outgoing, votes)
        assert found is quorum.joint_vote_result(outgoing, incoming, votes)
    else:
        found = quorum.vote_result(incoming, votes)
    return describe.VOTE_RESULT[found]
