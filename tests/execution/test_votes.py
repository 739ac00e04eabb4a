"""The laws of votes, for any order of votes, verdicts and lost workers."""

from __future__ import annotations

from typing import TypeAlias

from hypothesis import event, given
from hypothesis import strategies as st

from tests.execution.session import Session

VALIDATORS_MAX = 3
NAME = "a#1>b"

Act: TypeAlias = tuple[str, ...]

_votes = st.tuples(
    st.just("vote"),
    st.sampled_from(["j", *(f"v{n}" for n in range(1, VALIDATORS_MAX + 2))]),
    st.sampled_from(["for", "for", "against"]),
)
_acts: st.SearchStrategy[list[Act]] = st.lists(
    st.one_of(_votes, _votes, st.sampled_from([("accept",), ("outvoted",), ("lost",)])),
    max_size=20,
)


class Receiver:
    """Attempts at agent b, one after another, to which a hands what ``validators`` vote about, and
    ``judged`` is what agent j says of it, if there is one."""

    def __init__(self, validators: int, votes_min: int, judged: str) -> None:
        self.session = Session()
        self._epoch, self._sequence = 3, 1
        vote = f'{{"reason":"why","ballot":"{judged}"}}'
        judge = ("lease j 2 w", f"j/2/1 output j {vote}") if judged else ()
        for line in (
            f"create a{' j<a:b' if judged else ''} b<a#~{votes_min}/{validators}",
            "lease a 1 w",
            "a/1/1 output a 7",
            *judge,
            "follow",
            "lease b 3 w",
        ):
            assert "refused" not in self.session(line)

    def says(self, line: str) -> bool:
        """Whether the present attempt was let write this."""
        written = "refused" not in self.session(f"b/{self._epoch}/{self._sequence} {line}")
        self._sequence += written
        return written

    def is_lost(self) -> None:
        """Its worker dies, and another one takes over."""
        assert "refused" not in self.session(f"end b {self._epoch} worker_lost")
        self._epoch, self._sequence = self._epoch + 1, 1
        assert "refused" not in self.session(f"lease b {self._epoch} w worker_lost")


@st.composite
def _rules(draw: st.DrawFn) -> tuple[int, int, str]:
    """How many functions vote, how many votes are asked for, and what a judge says, if any."""
    judged = draw(st.sampled_from(["", "for", "against"]))
    functions = draw(st.integers(0 if judged else 1, VALIDATORS_MAX))
    return functions, draw(st.integers(1, functions + bool(judged))), judged


@given(_rules(), _acts)
def test_each_votes_once_and_the_verdict_is_what_the_votes_are(
    rule: tuple[int, int, str], acts: list[Act]
) -> None:
    functions, votes_min, judged = rule
    known = [f"v{n}" for n in range(1, functions + 1)]
    receiver, open_ = Receiver(functions, votes_min, judged), True
    votes: dict[str, str] = {"j": judged} if judged else {}
    validators = functions + len(votes)
    # At last whoever has not voted does, so that there is something to be decided.
    rest = [("vote", name, "for" if at % 2 else "against") for at, name in enumerate(known)]
    for act in [*acts, *rest, ("accept",), ("outvoted",)]:
        enough = list(votes.values()).count("for") >= votes_min
        decidable = open_ and len(votes) == validators
        match act:
            case ("vote", name, ballot):
                may = open_ and name in known and name not in votes
                assert receiver.says(f"vote b {NAME} {name} {ballot} why") == may
                if may:
                    votes[name] = ballot
            case ("accept",):
                assert receiver.says(f"accept b {NAME}") == (decidable and enough)
                open_ = open_ and not (decidable and enough)
            case ("outvoted",):
                against = [f"{name}=why" for name, ballot in votes.items() if ballot == "against"]
                line = f"outvoted b {NAME} {' '.join(against)}"
                assert receiver.says(line) == (decidable and not enough)
                if decidable and not enough:
                    open_ = False
                    event("rejected")
                    break
            case _:
                receiver.is_lost()
    else:
        event("accepted")
    state = receiver.session.state
    assert state is not None
    (handoff,) = state.handoffs.values()
    assert {vote.validator: vote.ballot for vote in handoff.votes} == votes
    in_favour = list(votes.values()).count("for")
    assert handoff.status == ("accepted" if in_favour >= votes_min else "rejected")
