"""A validator's epoch: open last epoch's list, read what the hosters showed, score it, commit to
the list.
"""

from __future__ import annotations

from epochgate.core.receipt import Standing
from epochgate.core.record_set import compute_set
from epochgate.core.settlement import HosterOutcome, compute_hoster_outcome
from epochgate.core.types import Hash32
from epochgate.keys import format_peer_id
from epochgate.node.context import DutyFailed, NodeContext
from epochgate.node.duties import Duty
from epochgate.node.hoster import commit, open_commitment
from epochgate.observe.events import Gathered, Scored

NO_CHALLENGE = bytes(32)
"""What a list names about an epoch in which no challenge counted."""


async def open_scores(node: NodeContext, duty: Duty) -> str:
    return await open_commitment(node, duty, node.policy.protocol.require_scores())


async def see_openings(node: NodeContext, duty: Duty) -> str:
    """Whose lists will be settled: what was read now is remembered for it."""
    rule = node.policy.protocol.require_scores().reveal
    (openings,) = await node.gather(((rule, duty.epoch),), duty.closes)
    seen = [format_peer_id(author) for author in openings.get_proofs(Standing.PROVEN)]
    node.emit(Gathered(duty.epoch, seen))
    return f"{len(seen)} validators have opened"


async def see_commitments(node: NodeContext, duty: Duty) -> str:
    """Who committed to a list about the epoch before. It counts in the next one, and by then more
    replicas may be gone.
    """
    rule = node.policy.protocol.require_scores().commit
    epoch = duty.epoch - 1
    (commitments,) = await node.gather(((rule, epoch),), duty.closes)
    if not commitments.is_enough:
        raise DutyFailed(
            f"too few replicas answered for {rule.kind} of epoch {epoch}: they are asked again when"
            " it counts"
        )
    return f"{len(commitments.get_proofs(Standing.PROVEN))} validators have committed"


async def commit_scores(node: NodeContext, duty: Duty) -> str:
    scores = node.policy.protocol.require_scores()
    rule = scores.commit
    record = await node.find_own_record(rule, duty.epoch)
    note = ""
    if record is None:
        outcome = await _score(node, duty)
        payload = scores.payload.encode(outcome.score_list)
        record = commit(
            node, rule, duty.epoch, Hash32(outcome.challenge_digest or NO_CHALLENGE), payload
        )
        if outcome.committed:
            note = ""
        else:
            note = "no hoster has committed, so there is nothing to score: "
    return note + await node.post(rule, duty, record)


async def _score(node: NodeContext, duty: Duty) -> HosterOutcome:
    outputs = node.policy.protocol.require_outputs()
    pairs = (
        (outputs.commit, outputs.compute_commit_epoch(duty.epoch)),
        (outputs.reveal, duty.epoch),
    )
    rule_readings = await node.gather(pairs, duty.closes)
    records = compute_set(rule_readings)
    outcome = await node.compute.run(
        compute_hoster_outcome, node.policy, node.schedule, records, duty.epoch
    )
    node.recorder.note_scores(
        node.chain_clock.get_evaluation_context(), duty.epoch, rule_readings, records, outcome
    )
    scores = {format_peer_id(author): score for author, score in outcome.scores.items()}
    committed, opened = (
        list(map(format_peer_id, authors)) for authors in (outcome.committed, outcome.opened)
    )
    node.emit(Scored(duty.epoch, scores, committed, opened))
    return outcome
