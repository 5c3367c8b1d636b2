from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from epochgate import INFERENCE_POLICY, Policy
from epochgate.core.types import Epoch
from epochgate.devnet.faults import Absence
from epochgate.devnet.summary import Chronicle, EpochSummary, Loss
from epochgate.observe.events import (
    Attested,
    ChallengeSeen,
    ElectionChanged,
    EpochBegan,
    Event,
    Gathered,
    Line,
    Scored,
    Submitted,
)
from tests.support.devnet_events import (
    ALICE,
    BOB,
    CAST,
    EVERYBODY,
    HOSTERS,
    PAY,
    VALIDATORS,
    VERA,
    VICTOR,
    tell,
    tell_epoch,
)


def listen(lines: list[Line]) -> Chronicle:
    chronicle = Chronicle(CAST, INFERENCE_POLICY)
    for line in lines:
        chronicle.take(line)
    return chronicle


def test_a_complete_epoch_is_summed_up() -> None:
    summary = listen(tell_epoch(Epoch(0)) + tell_epoch(Epoch(1))).compute_summary(Epoch(1))
    assert summary == EpochSummary(
        epoch=Epoch(1),
        elected=VERA,
        challenge_author=VICTOR,
        commitments=2,
        openings=2,
        validator_openings=2,
        submitted_by=VICTOR,
        attested_by=sorted(set(EVERYBODY) - {VICTOR}),
        scores=PAY,
        denied={"early": 4},
        complete=True,
        root="00" * 32,
    )


def test_the_first_epoch_needs_no_opened_lists() -> None:
    summary = listen(tell_epoch(Epoch(0))).compute_summary(Epoch(0))
    assert (summary.complete, summary.validator_openings) == (True, 0)


def test_the_summary_has_the_fields_that_its_readers_know() -> None:
    written = msgspec.json.decode(
        msgspec.json.encode([listen(tell_epoch(Epoch(0))).compute_summary(Epoch(0))])
    )
    assert list(written[0]) == [
        "epoch",
        "elected",
        "challenge_author",
        "commitments",
        "openings",
        "validator_openings",
        "submitted_by",
        "attested_by",
        "scores",
        "denied",
        "complete",
        "root",
    ]


def drop(condition: Callable[[Line], bool]) -> Callable[[list[Line]], list[Line]]:
    return lambda lines: [line for line in lines if not condition(line)]


def replace(node: str, fact: Scored | Gathered) -> Callable[[list[Line]], list[Line]]:
    return lambda lines: [
        (
            tell(node, fact)
            if line.node == node and type(line.fact) is type(fact) and line.fact.epoch == 1
            else line
        )
        for line in lines
    ]


@pytest.mark.parametrize(
    ("change", "gap"),
    [
        (drop(lambda line: isinstance(line.fact, ChallengeSeen)), "no challenge was proven"),
        (
            drop(lambda line: isinstance(line.fact, Scored) and line.node == VERA),
            "not all validators scored: validator-2",
        ),
        (
            replace(VERA, Scored(Epoch(1), {ALICE: 10**6, BOB: 10**6}, [ALICE], HOSTERS)),
            "no counted commitment of hoster-2",
        ),
        (
            replace(VERA, Scored(Epoch(1), {ALICE: 10**6, BOB: 10**6}, HOSTERS, [BOB])),
            "no counted opening of hoster-1",
        ),
        (
            replace(VERA, Scored(Epoch(1), {ALICE: 10**6, BOB: 0}, HOSTERS, HOSTERS)),
            "the validators' scores differ",
        ),
        (replace(VERA, Gathered(Epoch(1), [VERA])), "no proven opening of validator-1"),
        (drop(lambda line: isinstance(line.fact, Submitted)), "nobody submitted it"),
        (
            drop(lambda line: isinstance(line.fact, Attested) and line.node == BOB),
            "not attested by hoster-2",
        ),
    ],
)
def test_an_epoch_that_lacks_something_says_what(
    change: Callable[[list[Line]], list[Line]], gap: str
) -> None:
    chronicle = listen(change(tell_epoch(Epoch(1))))
    assert chronicle.find_gaps(Epoch(1)) == [gap]
    assert not chronicle.compute_summary(Epoch(1)).complete


def test_an_epoch_in_which_nothing_happened_is_summed_up_as_well() -> None:
    summary = listen([]).compute_summary(Epoch(3))
    assert (summary.complete, summary.elected, summary.commitments, summary.submitted_by) == (
        False,
        None,
        0,
        None,
    )


def test_a_node_that_died_makes_its_epoch_incomplete_but_not_those_before() -> None:
    chronicle = listen(tell_epoch(Epoch(0)) + tell_epoch(Epoch(1)) + tell_epoch(Epoch(2)))
    chronicle.losses.append(Loss("hoster-1", Epoch(2), "killed by SIGKILL"))
    assert [chronicle.compute_summary(Epoch(epoch)).complete for epoch in range(3)] == [
        True,
        False,
        False,
    ]
    assert chronicle.find_gaps(Epoch(2)) == ["hoster-1 died: killed by SIGKILL"]


def test_an_epoch_is_settled_when_all_others_have_attested() -> None:
    lines = tell_epoch(Epoch(0))
    chronicle = listen(lines[:-1])
    assert not chronicle.is_settled(Epoch(0))
    chronicle.take(lines[-1])
    assert chronicle.is_settled(Epoch(0))


def test_only_what_every_validator_counted_is_counted() -> None:
    others = [
        tell(node, Scored(Epoch(1), {}, [ALICE] if node == VERA else HOSTERS, []))
        for node in VALIDATORS
    ]
    assert listen(others).compute_summary(Epoch(1)).commitments == 1


def test_the_challenge_is_ascribed_to_the_elected_one_where_a_stand_in_published_it_too() -> None:
    lines = [
        tell(VERA, EpochBegan(Epoch(0), VICTOR, 2, 2)),
        tell(VERA, ChallengeSeen(Epoch(0), VERA)),
        tell(VERA, ChallengeSeen(Epoch(0), VICTOR)),
    ]
    assert listen(lines).compute_summary(Epoch(0)).challenge_author == VICTOR


def test_where_the_first_block_was_reorged_the_last_election_and_submission_count() -> None:
    lines = [
        *tell_epoch(Epoch(0)),
        tell(VERA, ElectionChanged(Epoch(1), VICTOR, VERA)),
        tell(VICTOR, Submitted(Epoch(1), Epoch(0), {}, "")),
    ]
    chronicle = listen(lines)
    assert chronicle.compute_summary(Epoch(1)).elected == VICTOR
    assert chronicle.compute_summary(Epoch(0)).submitted_by == VICTOR


def is_about(line: Line, node: str, kind: type[Event]) -> bool:
    return line.node == node and isinstance(line.fact, kind)


def test_the_absence_of_the_elected_node_excuses_its_submission_and_nobody_else() -> None:
    """Vera is elected in epoch 1, and away in it: nobody may submit about epoch 0, and she commits
    to no list.
    """
    lines = [
        line for line in tell_epoch(Epoch(0)) if not isinstance(line.fact, Submitted | Attested)
    ]
    lines += [
        line
        for line in tell_epoch(Epoch(1))
        if line.node != VERA or isinstance(line.fact, Attested | Submitted)
    ]
    lines = [
        line if not isinstance(line.fact, Gathered) else tell(VICTOR, Gathered(Epoch(1), [VICTOR]))
        for line in lines
    ]
    chronicle = listen(lines)
    assert "nobody submitted it" in chronicle.find_gaps(Epoch(0))
    assert chronicle.find_gaps(Epoch(1)) == [
        "not all validators scored: validator-2",
        "no proven opening of validator-2",
    ]
    chronicle.absences.append(
        Absence(VERA, 0.95, 1.9, "elected in epoch 1 and taken away before it")
    )
    for epoch in (0, 1):
        assert chronicle.compute_summary(Epoch(epoch)).complete
    assert (
        chronicle.find_excuses(Epoch(0))[-1]
        == "nobody submitted its scores: only the node elected in epoch 1 may"
    )
    assert (
        "validator-2 was elected in epoch 1 and taken away before it, and was ready after 90% of"
        " epoch 1" in (chronicle.compute_summary(Epoch(1)).excuses)
    )


def test_an_absence_is_no_excuse_for_what_others_owe_or_for_what_came_after_it() -> None:
    away = Absence(BOB, 0.0, 1.05, "started late")
    chronicle = listen(
        [line for line in tell_epoch(Epoch(1)) if not is_about(line, ALICE, Attested)]
    )
    chronicle.absences.append(away)
    assert chronicle.find_gaps(Epoch(1)) == ["not attested by hoster-1"]
    chronicle = listen([line for line in tell_epoch(Epoch(1)) if not is_about(line, BOB, Attested)])
    chronicle.absences.append(away)
    assert chronicle.find_gaps(Epoch(1)) == ["not attested by hoster-2"], "it was back long before"


def test_a_policy_without_challenges_or_commitments_asks_for_none() -> None:
    chronicle = Chronicle(CAST, Policy(*INFERENCE_POLICY.rules[:2]))
    assert chronicle.find_gaps(Epoch(1)) == []
