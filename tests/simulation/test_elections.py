"""A reorganisation replaces the epoch's first block, and the chain elects another node."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from epochgate.core.types import Epoch
from epochgate.node import duties
from epochgate.observe.events import (
    AttestationRefused,
    Attested,
    ChallengeSeen,
    DutyBegan,
    DutyDone,
    DutyMissed,
    ElectionChanged,
    EpochBegan,
    NodeWarning,
)
from epochgate.policies.inference import INFERENCE_POLICY
from epochgate.ports import OnChain
from epochgate.transcript.reader import find_transcript
from epochgate.transcript.replay import Replay, replay_files
from tests.simulation.subnet import VALIDATORS, SimNode, SimSubnet, assert_complete, live

EPOCH = Epoch(2)


def reorganise_first_block(subnet: SimSubnet, elected: SimNode) -> None:
    """All nodes see another election from now on, and the epoch's submission and attestations are
    gone.
    """
    snapshots = subnet.chain._snapshots
    snapshots[EPOCH] = replace(snapshots[EPOCH], elected=elected.key.author)
    for query in (
        "DELETE FROM submissions WHERE epoch = ?",
        "DELETE FROM attestations WHERE epoch = ?",
    ):
        subnet.chain._file._database.execute(query, (EPOCH,))


async def find_two(subnet: SimSubnet) -> tuple[SimNode, SimNode]:
    """Whom the chain has elected, and another validator."""
    elected = await subnet.get_elected(EPOCH)
    return elected, next(subnet[name] for name in VALIDATORS if name != elected.name)


def tell_duties(sim_node: SimNode) -> list[str]:
    """What became of submitting and attesting in EPOCH."""
    words = {DutyBegan: "began", DutyDone: "done", DutyMissed: "missed"}
    told = [
        fact
        for fact in sim_node.facts
        if isinstance(fact, (DutyBegan, DutyDone, DutyMissed)) and fact.epoch == EPOCH
    ]
    return [
        f"{words[type(fact)]} {fact.duty}"
        for fact in told
        if fact.duty in (duties.SUBMIT, duties.ATTEST)
    ]


@pytest.mark.parametrize(
    ("blocks", "of_the_former", "of_the_new"),
    [
        (0.5, ["began attest", "done attest"], ["began submit", "done submit"]),
        (
            1.01,
            ["began submit", "missed submit", "began attest", "done attest"],
            ["began attest", "missed attest", "began submit", "done submit"],
        ),
        (
            1.5,
            ["began submit", "done submit", "began attest", "done attest"],
            ["began attest", "done attest", "began submit", "done submit"],
        ),
        (
            20,
            ["began submit", "done submit", "began attest", "done attest"],
            ["began attest", "done attest", "began submit", "done submit"],
        ),
    ],
    ids=["before all", "while both work on it", "once it is attested", "after all"],
)
def test_the_newly_elected_node_submits_and_the_former_one_attests(
    tmp_path: Path, blocks: float, of_the_former: list[str], of_the_new: list[str]
) -> None:
    """The block is reorganised before the submission, while both work on it, at once after it, and
    when all is done.
    """

    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(EPOCH, blocks)
        former, new = await find_two(subnet)
        reorganise_first_block(subnet, new)
        await subnet.run_until(Epoch(EPOCH + 1), 60)
        assert (await subnet.get_submission(EPOCH)).submitter == new.key.author
        await assert_complete(subnet, Epoch(EPOCH - 1))
        await assert_complete(subnet, EPOCH)
        assert tell_duties(former) == of_the_former
        assert tell_duties(new) == of_the_new
        stopped = [fact for sim_node in (former, new) for fact in sim_node.get(DutyMissed)]
        words = (
            f"the chain elects {new.peer_id} now, in the place of {former.peer_id}",
            "this node is not elected in epoch 2",
        )
        assert all(any(known in fact.why for known in words) for fact in stopped)
        published = new if blocks < 15 else former
        for sim_node in subnet.nodes.values():
            (changed,) = sim_node.get(ElectionChanged)
            assert (changed.epoch, changed.elected, changed.before) == (
                EPOCH,
                new.peer_id,
                former.peer_id,
            )
            assert len(sim_node.get(EpochBegan, EPOCH)) == 1
            assert [fact.author for fact in sim_node.get(ChallengeSeen, EPOCH)] == [
                published.peer_id
            ]
            assert not sim_node.get(AttestationRefused)
            assert not sim_node.get(NodeWarning)
        await subnet.stop()
        for sim_node in subnet.nodes.values():
            files = find_transcript(sim_node.transcript)
            assert [it.differences for it in replay_files(Replay(INFERENCE_POLICY), files)] == [
                []
            ] * (EPOCH + 2)

    live(tmp_path, story, is_recorded=True)


def test_an_election_that_the_chain_shows_late_is_learnt_late(tmp_path: Path) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(EPOCH - 1), 99)
        snapshot = subnet.chain._snapshots[EPOCH]
        subnet.chain._snapshots[EPOCH] = replace(snapshot, elected=None)
        await subnet.run_until(EPOCH, 10)
        subnet.chain._snapshots[EPOCH] = snapshot
        await subnet.run_until(EPOCH, 50)
        elected = await subnet.get_elected(EPOCH)
        assert (await subnet.get_submission(EPOCH)).submitter == elected.key.author
        await assert_complete(subnet, Epoch(EPOCH - 1))
        (changed,) = elected.get(ElectionChanged)
        assert (changed.elected, changed.before) == (elected.peer_id, None)

    live(tmp_path, story)


def test_a_submission_that_took_the_place_of_the_one_judged_is_judged_itself(
    tmp_path: Path,
) -> None:
    """The elected node's two submissions differ, and the block of the first is reorganised while
    others recompute it.
    """

    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(EPOCH, 0.5)
        _, witness = await find_two(subnet)
        chain = witness.get_live_node().context.chain
        read = chain.get_submission

        async def read_before_the_reorganisation(epoch: Epoch) -> OnChain | None:
            """What is there, and at once there is another."""
            found: OnChain | None = await read(epoch)
            if epoch == EPOCH and found is not None:
                chain.get_submission = read  # type: ignore[method-assign] # from now on it reads what is there
                other = replace(found.submission, scores=dict.fromkeys(found.submission.scores, 7))
                row = (msgspec.msgpack.encode(other), EPOCH)
                subnet.chain._file._database.execute(
                    "UPDATE submissions SET content = ? WHERE epoch = ?", row
                )
            return found

        chain.get_submission = read_before_the_reorganisation  # type: ignore[method-assign] # the port, at the worst moment
        await subnet.run_until(EPOCH, 50)
        assert witness.get(AttestationRefused, EPOCH)
        assert not witness.get(Attested, EPOCH)
        assert witness.key.author not in (await subnet.get_submission(EPOCH)).attested_by

    live(tmp_path, story)
