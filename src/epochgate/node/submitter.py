"""The elected node's duty: put last epoch's scores and the set they rest on on the chain, and show
that set.
"""

from __future__ import annotations

import asyncio

from epochgate.core.record_set import RecordSet, compute_set
from epochgate.core.types import Epoch
from epochgate.keys import format_peer_id
from epochgate.node.context import DutyFailed, NodeContext
from epochgate.node.duties import Duty
from epochgate.node.settling import find_attested_list, read_deciding, settle
from epochgate.observe.events import Submitted
from epochgate.observe.recorder import Decision
from epochgate.ports import ChainRefused, OnChain, Submission


async def submit(node: NodeContext, duty: Duty) -> str:
    """Also after a restart: what is on the chain already is not submitted again, but its set is
    shown again.
    """
    rule_readings = await read_deciding(node, duty)
    if too_few := [
        f"{rule_reading.rule.kind} of epoch {rule_reading.epoch}"
        for rule_reading in rule_readings
        if not rule_reading.is_enough
    ]:
        raise DutyFailed(
            f"too few replicas answered for {', '.join(too_few)}: what they hide may count"
        )
    records = compute_set(rule_readings)
    _show(node, duty, records)
    attested_list = await find_attested_list(node, duty)
    settlement = await settle(node, duty, records, attested_list)
    on_chain = await node.chain.get_submission(duty.epoch)
    if on_chain is None:
        try:
            await node.chain.submit(
                Submission(duty.epoch, settlement.pay, records.bitmaps, records.root)
            )
        except ChainRefused as refused:
            raise DutyFailed(f"the chain refused: {refused}") from None
        on_chain = await _read_back(node, duty)
    if on_chain.submitter != node.author:
        raise DutyFailed(f"{format_peer_id(on_chain.submitter)} has submitted in this node's place")
    submission = on_chain.submission
    if submission.root == records.root:
        node.database.keep_score_list(Epoch(duty.epoch - 1), settlement.outcome.score_list)
    scores = {format_peer_id(author): score for author, score in submission.scores.items()}
    decision = Decision(
        duty.epoch,
        "submitted",
        attested_list,
        rule_readings,
        on_chain,
        records=records,
        settlement=settlement,
    )
    node.recorder.note_decision(node.chain_clock.get_evaluation_context(), decision)
    node.emit(Submitted(duty.epoch, Epoch(duty.epoch - 1), scores, submission.root.hex()))
    return f"the scores of epoch {duty.epoch - 1}, at block {on_chain.block}"


def _show(node: NodeContext, duty: Duty, records: RecordSet) -> None:
    proofs = [proof for them in records.included.values() for proof in them.values()]
    excluded = [them for by_author in records.excluded.values() for them in by_author.values()]
    evidence = [(first.record, second.record) for first, second, *_ in excluded]
    node.replica.show_set(duty.epoch, proofs, evidence)


async def _read_back(node: NodeContext, duty: Duty) -> OnChain:
    """A submission counts once the chain shows it."""
    while (on_chain := await node.chain.get_submission(duty.epoch)) is None:  # noqa: ASYNC110
        await asyncio.sleep(node.block_seconds / 2)
    return on_chain
