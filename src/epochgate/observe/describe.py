"""A fact in a line of words, for people who watch. Facts that the screen shows otherwise
have none.
"""

from __future__ import annotations

from epochgate.observe.cast import Cast
from epochgate.observe.events import (
    Abstained,
    AnyEvent,
    AttestationRefused,
    Attested,
    ChallengeMissing,
    ChallengeSeen,
    DutyDone,
    DutyMissed,
    ElectionChanged,
    EpochBegan,
    NodeReady,
    NodeWarning,
    Scored,
    Stored,
    Submitted,
)

QUIET_DUTIES = frozenset({"see-challenge", "see-openings", "see-commitments", "submit", "attest"})
"""Duties that are done for the node alone, or whose outcome is a fact of its own."""


def describe_fact(fact: AnyEvent, cast: Cast) -> str | None:
    """None for a fact that says nothing to somebody who watches the whole subnet."""
    words = _describe(fact, cast)
    if words is None:
        return None
    return cast.name_peers(words)


def _describe(fact: AnyEvent, cast: Cast) -> str | None:
    match fact:
        case NodeReady(addresses=addresses):
            return " on ".join(["ready", *(address.split("/p2p/")[0] for address in addresses[:1])])
        case ElectionChanged(epoch=epoch, elected=elected, before=before):
            if before:
                instead = cast.get_name(before)
            else:
                instead = "nobody"
            return (
                f"the chain elects {cast.get_name(elected)} in epoch {epoch} now, in the place of"
                f" {instead}"
            )
        case DutyDone(duty=duty, detail=detail) if duty not in QUIET_DUTIES:
            return f"{duty}: {detail or 'done'}"
        case DutyMissed(duty=duty, why=why):
            return f"missed {duty}: {why}"
        case ChallengeMissing(epoch=epoch, consequence=consequence):
            return f"nobody has published a challenge for epoch {epoch}: {consequence}"
        case Stored(is_complete=False):
            return (
                f"only {fact.receipts} of {fact.k} receipts for {fact.rule}; {fact.k - fact.f} make"
                " it complete"
            )
        case Scored(scores=scores, openings=openings):
            return f"scored {len(scores)} hosters, {len(openings)} of them by their openings"
        case Submitted(scored_epoch=scored_epoch):
            return f"submitted the scores of epoch {scored_epoch}"
        case Attested(submitter=submitter):
            return f"attested the submission of {cast.get_name(submitter)}"
        case AttestationRefused(submitter=submitter, differences=differences):
            return (
                f"refused to attest the submission of {cast.get_name(submitter)}:"
                f" {'; '.join(differences)}"
            )
        case Abstained(why=why):
            return f"abstained: {why}"
        case NodeWarning(where=where, what=what, advice=advice):
            return f"trouble in {where}: {what}{f' ({advice})' if advice else ''}"
    return None


def describe_challenge(fact: ChallengeSeen, cast: Cast) -> str:
    return (
        f"the challenge of epoch {fact.epoch} is proven, published by {cast.get_name(fact.author)}"
    )


def describe_epoch(fact: EpochBegan, cast: Cast) -> str:
    if fact.elected:
        elected = cast.get_name(fact.elected)
    else:
        elected = "nobody"
    return (
        f"epoch {fact.epoch} began: {fact.hosters} hosters, {fact.validators} validators, {elected}"
        " elected"
    )


def is_bad(fact: AnyEvent) -> bool:
    """Whether the fact is one to worry about."""
    return isinstance(fact, DutyMissed | AttestationRefused | Abstained | NodeWarning) or (
        isinstance(fact, Stored) and not fact.is_complete
    )
