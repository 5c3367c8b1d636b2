from __future__ import annotations

from io import StringIO

import msgspec
import pytest
from rich.console import Console

from epochgate import INFERENCE_POLICY
from epochgate.core.types import Epoch
from epochgate.devnet.attack import (
    AttackOutcome,
    compute_outcomes,
    describe_end,
    render_markdown,
    render_outcomes,
)
from epochgate.devnet.summary import Chronicle
from epochgate.observe.cast import Cast
from epochgate.observe.events import Attested, Scored
from tests.support.devnet_events import (
    ALICE,
    BOB,
    CAST,
    HOSTERS,
    PAY,
    VALIDATORS,
    VERA,
    VICTOR,
    tell,
    tell_epoch,
)

BAD_BOB = Cast(
    tuple(
        msgspec.structs.replace(actor, adversary="copier" if actor.peer_id == BOB else None)
        for actor in CAST.actors
    )
)
HARMLESS = AttackOutcome("copier", 1, 0, 2 * 10**17, 10**6, 2, 2, {"late": 27})


def listen(pay: dict[str, int], alice_score: int = 10**6) -> list[AttackOutcome]:
    """Bob is a copier."""
    chronicle = Chronicle(BAD_BOB, INFERENCE_POLICY)
    for line in tell_epoch(Epoch(0), pay):
        fact = line.fact
        if isinstance(fact, Scored):
            fact = Scored(Epoch(0), {ALICE: alice_score, BOB: 0}, HOSTERS, [ALICE])
        chronicle.take(tell(line.node, fact))
    return compute_outcomes(chronicle, [chronicle.compute_summary(Epoch(0))])


def test_what_an_adversary_earned_stands_beside_the_honest_of_its_role() -> None:
    (outcome,) = listen(PAY | {ALICE: 4 * 10**17, BOB: 0})
    assert outcome == AttackOutcome("copier", 1, 0, 4 * 10**17, 10**6, 1, 1, {"early": 4})
    assert outcome.is_harmless, "and the epoch is complete, though the copier opened nothing"


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        ({"earned": 4 * 10**17}, "copier was paid 200.0%, more than an honest node"),
        ({"earned": 2 * 10**17 + 3}, "copier was paid 100.0%, more than an honest node"),
        (
            {"lowest_score": 999_999},
            "copier stood by as an honest hoster scored 999,999 of 1,000,000",
        ),
        ({"complete": 1}, "copier stood by as 1 of 2 epochs were incomplete"),
    ],
)
def test_more_pay_a_lower_score_or_an_incomplete_epoch_is_harm(
    harm: dict[str, int], words: str
) -> None:
    harmful = msgspec.structs.replace(HARMLESS, **harm)
    assert HARMLESS.is_harmless
    assert not harmful.is_harmless
    assert describe_end([HARMLESS, harmful]) == [words]


def test_no_harm_is_told_too() -> None:
    assert describe_end([HARMLESS]) == [
        "no adversary was paid more than an honest node, lowered an honest score, or cost an epoch"
    ]


def test_an_honest_score_that_was_lowered_is_found() -> None:
    (outcome,) = listen(PAY, alice_score=5)
    assert outcome.lowest_score == 5


def test_what_an_adversary_claims_to_have_seen_counts_for_nothing() -> None:
    bad_vera = Cast(
        tuple(
            msgspec.structs.replace(actor, adversary="liar" if actor.peer_id == VERA else None)
            for actor in CAST.actors
        )
    )
    chronicle = Chronicle(bad_vera, INFERENCE_POLICY)
    for line in tell_epoch(Epoch(0)):
        is_lie = line.node == VERA and isinstance(line.fact, Scored)
        if not (line.node == VERA and isinstance(line.fact, Attested)):
            chronicle.take(tell(VERA, Scored(Epoch(0), {}, [], [])) if is_lie else line)
    assert list(chronicle.get_scored(Epoch(0))) == [VICTOR]
    assert chronicle.find_gaps(Epoch(0)) == []
    assert set(VALIDATORS) == {VICTOR, VERA}


def test_the_table_is_readable_on_a_screen_and_on_a_page() -> None:
    aims = {"copier": "copies a digest"}
    console = Console(width=120, record=True, file=StringIO())
    console.print(render_outcomes([HARMLESS], aims))
    assert "late 27" in console.export_text()
    unpaid = msgspec.structs.replace(
        HARMLESS, nodes=2, honest_mean=0, denied=dict.fromkeys("abcd", 1)
    )
    assert render_markdown([HARMLESS, unpaid], aims).endswith(
        "| copier | copies a digest | 0.0% | 1,000,000 | 2 of 2 | late 27 |\n| copier (2) | copies"
        " a digest | nobody was paid | 1,000,000 | 2 of 2 | a 1, b 1, c 1 ... |\n"
    )
