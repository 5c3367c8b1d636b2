"""Facts as messages for people: one line each, with names in the place of peer ids."""

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
"""Duties whose end needs no message: they only read, or their outcome is a fact of its own."""


def describe_fact(fact: AnyEvent, cast: Cast) -> str | None:
    """Describe a fact of one node.

    Args:
        fact: The fact.
        cast: The nodes of the devnet; an empty one for a node of another subnet.

    Returns:
        The message, without the node's name; None for a fact that needs none.
    """
    message = _describe(fact, cast)
    if message is None:
        return None
    return cast.name_peers(message)


def _describe(fact: AnyEvent, cast: Cast) -> str | None:
    match fact:
        case NodeReady(addresses=addresses):
            hosts = [address.split("/p2p/")[0] for address in addresses[:1]]
            return " on ".join(["ready", *hosts])
        case ElectionChanged():
            return _describe_election(fact, cast)
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
            name = cast.get_name(submitter)
            return f"refused to attest the submission of {name}: {'; '.join(differences)}"
        case Abstained(why=why):
            return f"abstained: {why}"
        case NodeWarning():
            return _describe_warning(fact)
    return None


def _describe_election(fact: ElectionChanged, cast: Cast) -> str:
    before = "nobody"
    if fact.before:
        before = cast.get_name(fact.before)
    elected = cast.get_name(fact.elected)
    return f"the chain elects {elected} in epoch {fact.epoch} now, in the place of {before}"


def _describe_warning(fact: NodeWarning) -> str:
    message = f"warning from {fact.where}: {fact.what}"
    if fact.advice:
        message += f" ({fact.advice})"
    return message


def describe_challenge(fact: ChallengeSeen, cast: Cast) -> str:
    """Describe a challenge, which all nodes see alike."""
    name = cast.get_name(fact.author)
    return f"the challenge of epoch {fact.epoch} is proven, published by {name}"


def describe_epoch(fact: EpochBegan, cast: Cast) -> str:
    """Describe the begin of an epoch, which all nodes see alike."""
    elected = "nobody"
    if fact.elected:
        elected = cast.get_name(fact.elected)
    return (
        f"epoch {fact.epoch} began: {fact.hosters} hosters, {fact.validators} validators, {elected}"
        " elected"
    )


def is_bad(fact: AnyEvent) -> bool:
    """Whether an operator may have to do something about the fact."""
    if isinstance(fact, Stored):
        return not fact.is_complete
    return isinstance(fact, DutyMissed | AttestationRefused | Abstained | NodeWarning)
