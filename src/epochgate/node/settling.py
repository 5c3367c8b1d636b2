"""What submitter and attestors do alike: settle the epochs before from a set of records."""

from __future__ import annotations

from epochgate.core.receipt import Proof, Standing
from epochgate.core.record_set import RecordSet, RuleReading, read_bitmap
from epochgate.core.settlement import (
    Settlement,
    compute_deciding,
    compute_hoster_outcome,
    compute_settlement,
)
from epochgate.core.types import Epoch, Hash32, PeerId
from epochgate.node.context import DutyFailed, NodeContext
from epochgate.node.duties import Duty


async def read_deciding(node: NodeContext, duty: Duty) -> tuple[RuleReading, ...]:
    """All that the submission made in `duty.epoch` rests on, as far as the replicas show it.

    It is read before anything else is waited for: replicas may be gone by then, and the next
    submission may rest on it too.
    """
    before = await node.chain.get_submission(Epoch(duty.epoch - 1))
    deciding = compute_deciding(
        node.policy, duty.epoch, is_attested=before is not None and before.is_attested
    )
    return await node.gather(deciding, duty.closes)


async def find_attested_list(node: NodeContext, duty: Duty) -> tuple[int, ...] | None:
    """The list that those who attested the submission before agreed to, None where nobody did.
    Raises DutyFailed.
    """
    before = await node.chain.get_submission(Epoch(duty.epoch - 1))
    if before is None or not before.is_attested:
        return None
    scores = node.policy.protocol.require_scores()
    list_epoch = scores.compute_commit_epoch(Epoch(duty.epoch - 1))
    known = node.database.get_score_list(Epoch(list_epoch))
    if known is None:
        return await _rebuild_list(node, duty, Epoch(list_epoch), before.submission.bitmaps)
    return known


async def settle(
    node: NodeContext, duty: Duty, records: RecordSet, attested_list: tuple[int, ...] | None
) -> Settlement:
    return await node.compute.run(
        compute_settlement, node.policy, node.schedule, records, duty.epoch, attested_list
    )


async def _rebuild_list(
    node: NodeContext, duty: Duty, epoch: Epoch, bitmaps: tuple[bytes, ...]
) -> tuple[int, ...]:
    """The list of `epoch`, from the hosters' records that the attested submission named.

    For a node that was not there, or did not agree. Raises DutyFailed when it cannot find what was
    named.
    """
    outputs = node.policy.protocol.require_outputs()
    pairs = ((outputs.commit, outputs.compute_commit_epoch(epoch)), (outputs.reveal, epoch))
    rule_readings = await node.gather(pairs, duty.closes)
    included = {
        (rule_reading.rule.kind, rule_reading.epoch): _select(rule_reading, bitmap)
        for rule_reading, bitmap in zip(rule_readings, bitmaps[: len(pairs)], strict=True)
    }
    records = RecordSet(included, {}, bitmaps, Hash32(b""))
    outcome = await node.compute.run(
        compute_hoster_outcome, node.policy, node.schedule, records, epoch
    )
    node.database.keep_score_list(epoch, outcome.score_list)
    node.recorder.note_score_list(
        node.chain_clock.get_evaluation_context(),
        epoch,
        rule_readings,
        bitmaps[: len(pairs)],
        outcome,
    )
    return outcome.score_list


def _select(rule_reading: RuleReading, bitmap: bytes) -> dict[PeerId, Proof]:
    proven = rule_reading.get_proofs(Standing.PROVEN)
    named = read_bitmap(rule_reading.roster, bitmap)
    lost = [author for author in named if author not in proven]
    if lost:
        raise DutyFailed(
            f"{rule_reading.rule.kind} of epoch {rule_reading.epoch} by {lost[0].hex()} was"
            " attested, and cannot be found any more"
        )
    if unclear := [author for author in named if len(proven[author]) > 1]:
        raise DutyFailed(
            f"{rule_reading.rule.kind} of epoch {rule_reading.epoch} by {unclear[0].hex()} was"
            " attested, and two values of it are proven: only those who were there know which one"
            " counted"
        )
    return {author: proven[author][0] for author in named}
