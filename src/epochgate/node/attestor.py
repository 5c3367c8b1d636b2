"""Everybody else's duty: recompute the submission, and attest it when, and only when, it is exactly
equal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from epochgate.core.claim import Agreed, Disputed, ShownSet, SubmissionClaim, Undecided, judge_claim
from epochgate.core.receipt import Proof, RecordId, compute_record_id
from epochgate.core.record import Record, is_record_signed
from epochgate.core.record_set import KeyReading, RuleReading
from epochgate.core.rule import KeyRule, Rule
from epochgate.core.types import Epoch, PeerId, RecordKey
from epochgate.keys import format_peer_id
from epochgate.node.context import DutyFailed, NodeContext
from epochgate.node.duties import Duty
from epochgate.node.settling import find_attested_list, read_deciding, settle
from epochgate.observe.events import Abstained, AttestationRefused, Attested
from epochgate.observe.recorder import Decision
from epochgate.ports import ChainRefused, OnChain
from epochgate.store.wire import SetPage, ShowSet

MAX_PAGES = 256
"""Of a submitter's set; it is not to keep its attestors busy for the rest of the epoch."""


async def attest(node: NodeContext, duty: Duty) -> str:
    rule_readings = await read_deciding(node, duty)
    on_chain = await _wait_for_submission(node, duty)
    submitter = format_peer_id(on_chain.submitter)
    if node.author in on_chain.attested_by:
        node.emit(Attested(duty.epoch, submitter))
        return "attested already"
    try:
        attested_list = await find_attested_list(node, duty)
    except DutyFailed as failed:
        node.emit(Abstained(duty.epoch, str(failed)))
        raise DutyFailed(f"abstained: {failed}") from None
    verdict, shown = await _judge(node, duty, on_chain, rule_readings)
    decision = Decision(duty.epoch, "refused", attested_list, rule_readings, on_chain, shown)
    if isinstance(verdict, Undecided):
        _note(node, decision, decided="abstained", differences=(verdict.why,))
        node.emit(Abstained(duty.epoch, verdict.why))
        raise DutyFailed(f"abstained: {verdict.why}")
    if isinstance(verdict, Agreed):
        settlement = await settle(node, duty, verdict.records, attested_list)
        decision = replace(decision, records=verdict.records, settlement=settlement)
        differences = tuple(_compare(on_chain.submission.scores, settlement.pay))
        if not differences:
            if not await _is_still_there(node, duty, on_chain):
                return await attest(node, duty)
            node.database.keep_score_list(Epoch(duty.epoch - 1), settlement.outcome.score_list)
            _note(node, decision, decided="agreed")
            await _say_so(node, duty)
            node.emit(Attested(duty.epoch, submitter))
            return f"the submission of {submitter}"
    else:
        differences = verdict.differences
    _note(node, decision, differences=differences)
    node.emit(AttestationRefused(duty.epoch, submitter, list(differences)))
    return f"refused: {'; '.join(differences)}"


async def _wait_for_submission(node: NodeContext, duty: Duty) -> OnChain:
    while (on_chain := await node.chain.get_submission(duty.epoch)) is None:
        if node.compute_seconds_until(duty.closes) <= node.block_seconds:
            raise DutyFailed("nobody has submitted")
        await asyncio.sleep(node.block_seconds)
    return on_chain


def _note(node: NodeContext, decision: Decision, **changes: Any) -> None:
    node.recorder.note_decision(
        node.chain_clock.get_evaluation_context(), replace(decision, **changes)
    )


async def _judge(
    node: NodeContext, duty: Duty, on_chain: OnChain, rule_readings: Sequence[RuleReading]
) -> tuple[Agreed | Disputed | Undecided, ShownSet]:
    """By what this node has read; where that does not do, also by what the submitter shows."""
    claim = SubmissionClaim(on_chain.submission.bitmaps, on_chain.submission.root)
    shown = ShownSet()
    verdict = judge_claim(claim, rule_readings, shown)
    if isinstance(verdict, Disputed):
        pairs = tuple((rule_reading.rule, rule_reading.epoch) for rule_reading in rule_readings)
        shown = await ask_for_set(node, on_chain.submitter, duty.epoch, pairs)
        verdict = judge_claim(claim, rule_readings, shown)
    return verdict, shown


async def ask_for_set(
    node: NodeContext, submitter: PeerId, epoch: Epoch, pairs: Sequence[tuple[Rule, int]]
) -> ShownSet:
    """What `submitter` shows of the set it named in `epoch`: only what is signed, and belongs to
    one of `pairs`.
    """
    proofs: list[Proof] = []
    evidence: list[tuple[Record, Record]] = []
    for _ in range(MAX_PAGES):
        page = await node.store.ask(submitter, ShowSet(epoch, len(proofs) + len(evidence)))
        if not isinstance(page, SetPage):
            break
        proofs += page.proofs
        evidence += page.evidence
        if page.is_last or not (page.proofs or page.evidence):
            break
    key_rules = {
        key_rule.key: key_rule
        for rule, of in pairs
        for key_rule in node.schedule.get_key_rules(rule, Epoch(of))
    }
    network = node.chain.network_id
    signed = [
        pair for pair in evidence if all(is_record_signed(network, record) for record in pair)
    ]
    return ShownSet(tuple(_read_proofs(node, key_rules, proofs)), tuple(signed))


def _read_proofs(
    node: NodeContext, key_rules: Mapping[RecordKey, KeyRule], proofs: Sequence[Proof]
) -> Iterator[KeyReading]:
    """The submitter's proofs, judged like a replica's answers."""
    now = node.chain_clock.get_evaluation_context()
    by_key: dict[RecordKey, dict[RecordId, Proof]] = {}
    for proof in proofs:
        if proof.record.key in key_rules and node.judge.recognise(proof.record, now):
            by_key.setdefault(proof.record.key, {})[compute_record_id(proof.record)] = proof
    for key, shown in by_key.items():
        rule = key_rules[key].receipt_rule
        signers = {
            record_id: node.store.verify(rule, record_id, proof.receipts)
            for record_id, proof in shown.items()
        }
        yield KeyReading(key_rules[key], shown, signers, frozenset())


def _compare(submitted: Mapping[PeerId, int], recomputed: Mapping[PeerId, int]) -> Iterator[str]:
    for author in sorted(submitted.keys() | recomputed.keys()):
        theirs = submitted.get(author)
        ours = recomputed.get(author)
        if theirs != ours:
            yield f"{format_peer_id(author)}: submitted {theirs}, recomputed {ours}"


async def _is_still_there(node: NodeContext, duty: Duty, judged: OnChain) -> bool:
    """Whether the chain still holds the submission that was judged: an attestation counts for the
    one that is there, and a reorganisation may have replaced it.
    """
    found = await node.chain.get_submission(duty.epoch)
    return found is not None and (found.submitter, found.submission) == (
        judged.submitter,
        judged.submission,
    )


async def _say_so(node: NodeContext, duty: Duty) -> None:
    try:
        await node.chain.attest(duty.epoch)
    except ChainRefused as refused:
        raise DutyFailed(f"the chain refused: {refused}") from None
