"""A small devnet told in events: alice and bob host, victor and vera validate, victor is elected,
vera is elected next.
"""

from __future__ import annotations

from collections.abc import Iterable

from epochgate.core.types import Epoch
from epochgate.keys import format_peer_id
from epochgate.observe.cast import Actor, Cast
from epochgate.observe.events import (
    AnyEvent,
    Attested,
    ChallengeSeen,
    EpochBegan,
    Gathered,
    Line,
    NodeReady,
    Scored,
    Submitted,
    Verdicts,
)
from tests.support.identities import alice, bob, vera, victor

ALICE, BOB, VICTOR, VERA = (format_peer_id(key.author) for key in (alice, bob, victor, vera))
HOSTERS = [ALICE, BOB]
VALIDATORS = [VICTOR, VERA]
EVERYBODY = HOSTERS + VALIDATORS
CAST = Cast(
    (
        Actor("hoster-1", "hoster", ALICE),
        Actor("hoster-2", "hoster", BOB),
        Actor("validator-1", "validator", VICTOR),
        Actor("validator-2", "validator", VERA),
    )
)
OUTPUT_SCORES = {ALICE: 10**6, BOB: 10**6}
PAY = {ALICE: 2 * 10**17, BOB: 2 * 10**17, VICTOR: 3 * 10**17, VERA: 3 * 10**17}


def tell(node: str, fact: AnyEvent) -> Line:
    return Line(node, 1_700_000_000.0, fact)


def tell_start() -> Iterable[Line]:
    return [
        tell(node, NodeReady(["hoster"], ["/ip4/127.0.0.1/tcp/4001/p2p/" + node], "00" * 32))
        for node in EVERYBODY
    ]


def tell_epoch(epoch: Epoch, pay: dict[str, int] | None = None) -> list[Line]:
    """Everything that a complete epoch makes its nodes say, to the last attestation, made in the
    next one.
    """
    submitter = VERA if epoch % 2 == 0 else VICTOR
    lines = [
        tell(node, EpochBegan(epoch, VICTOR if epoch % 2 == 0 else VERA, 2, 2))
        for node in EVERYBODY
    ]
    lines += [tell(node, ChallengeSeen(epoch, VICTOR)) for node in VALIDATORS]
    lines += [tell(node, Gathered(epoch, VALIDATORS if epoch else [])) for node in VALIDATORS]
    lines += [tell(node, Scored(epoch, OUTPUT_SCORES, HOSTERS, HOSTERS)) for node in VALIDATORS]
    lines += [tell(node, Verdicts(epoch, 5, {"early": 1})) for node in EVERYBODY]
    lines.append(tell(submitter, Submitted(Epoch(epoch + 1), epoch, pay or PAY, "00" * 32)))
    lines += [
        tell(node, Attested(Epoch(epoch + 1), submitter)) for node in EVERYBODY if node != submitter
    ]
    return lines
