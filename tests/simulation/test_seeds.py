"""The simulator itself: one seed is one run, byte for byte, and what is broken comes to light with the command to see it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from epochgate.core.receipt import Receipt
from epochgate.core.record import Record
from epochgate.core.rule import Rule
from epochgate.engine.memory import Links
from epochgate.ledger import Ledger
from epochgate.node.duties import _Table
from epochgate.node.station import Station
from epochgate.replica import Replica
from epochgate.watch import Watch
from simulation import faults
from simulation.faults import Incident, Plan, compute_f, draw_plan
from simulation.run import run_plan

Spoil = Callable[[pytest.MonkeyPatch], None]
TESTS = Path(__file__).parent.parent


def run_in_a_process(hash_seed: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": f"{TESTS.parent / 'src'}:{TESTS}"}
    command = [sys.executable, "-m", "simulation", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_the_same_seed_gives_the_same_run_byte_for_byte() -> None:
    first, second = (run_in_a_process(hash_seed, "--seed", "3") for hash_seed in (1, 2))
    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stdout == second.stdout
    assert "digest" in first.stdout
    assert run_in_a_process(1, "--seed", "4").stdout != first.stdout


@pytest.mark.parametrize("seed", range(12))
def test_what_is_promised_holds_under_the_faults_of_a_seed(seed: int) -> None:
    plan = draw_plan(seed)
    assert run_plan(plan).broken == "", plan


def count_faulty(plan: Plan, block: float) -> int:
    down = {name for it in plan.incidents if it.kind != faults.JOIN and it.begins <= block <= it.ends for name in it.nodes}
    return len(down | plan.villains.keys())


def test_a_plan_keeps_to_its_budget() -> None:
    for seed in range(300):
        for budget in (faults.WITHIN_F, faults.WILD):
            plan = draw_plan(seed, adversaries=("copier", "forger"), budget=budget)
            worst = max((count_faulty(plan, it.begins) for it in plan.incidents), default=0)
            assert worst <= (compute_f(12) if budget == faults.WITHIN_F else 12)
            healed_block = (plan.epochs - 1) * 100 - faults.QUIET_BLOCKS
            assert all(it.ends <= healed_block for it in plan.incidents)
        assert plan == draw_plan(seed, adversaries=("copier", "forger"), budget=faults.WILD)


def make_calm_plan(*incidents: Incident, epochs: int = 2) -> Plan:
    hosters = tuple(f"hoster-{number}" for number in range(4))
    validators = tuple(f"validator-{number}" for number in range(3))
    return Plan(0, epochs, hosters, validators, faults.WITHIN_F, Links(latency_seconds=0.05), {}, {}, incidents)


def admit_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a replica refuses by its policy it takes all the same."""
    post = Replica._post

    def take(self: Replica, sender: bytes, record: Record, now: object) -> object:
        answer = post(self, sender, record, now)
        bound = self.judge.find_bound(record.key, now)
        return answer if isinstance(answer, Receipt) or bound is None else self._keep(record, bound, now)

    monkeypatch.setattr(Replica, "_post", take)


def commit_anew_and_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that lost its ledger does not ask what it said before, and says something else."""

    async def say_nothing_was_said(_station: Station, _rule: Rule, _epoch: int) -> None:
        return None

    monkeypatch.setattr(Station, "find_own_record", say_nothing_was_said)
    admit_everything(monkeypatch)


def forget_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica that gives receipts and keeps nothing."""
    keep = Ledger.keep

    def lose(self: Ledger, record: Record, receipts: object, epoch: int) -> None:
        keep(self, record, receipts, epoch)
        del self.held[record.key, record.author]
        self._by_key[record.key].discard(record.author)

    monkeypatch.setattr(Ledger, "keep", lose)


def come_early_and_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Authors come three blocks before their time."""
    compute = _Table._compute_authors_time

    def compute_early(self: _Table, rule: Rule) -> tuple[float, float]:
        opens, closes = compute(self, rule)
        return opens - 3, closes

    monkeypatch.setattr(_Table, "_compute_authors_time", compute_early)
    admit_everything(monkeypatch)


def stamp_receipts_with_another_block(monkeypatch: pytest.MonkeyPatch) -> None:
    get_block = Watch.get_block

    def get_block_ahead(self: Watch) -> tuple[int, bool]:
        block, is_stale = get_block(self)
        return block + 1, is_stale

    monkeypatch.setattr(Watch, "get_block", get_block_ahead)


@pytest.mark.parametrize(
    ("spoil", "incidents", "complaint"),
    [
        (commit_anew_and_be_taken, (Incident(faults.WIPE, ("hoster-1",), 30.0, 34.0),), "a second value under a once-key"),
        (forget_at_once, (), "is lost"),
        (come_early_and_be_taken, (), "outside its window"),
        (stamp_receipts_with_another_block, (), "for another block"),
    ],
)
def test_an_umpire_sees_what_is_broken(
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[pytest.MonkeyPatch], None],
    incidents: tuple[Incident, ...],
    complaint: str,
) -> None:
    spoil(monkeypatch)
    report = run_plan(make_calm_plan(*incidents))
    assert complaint in report.broken
    assert report.last


def test_a_calm_run_breaks_nothing() -> None:
    report = run_plan(make_calm_plan())
    assert (report.broken, report.attested_epochs) == ("", (1,))


def test_epochs_complete_while_a_third_of_the_nodes_lose_everything_in_each() -> None:
    report = run_plan(faults.draw_churn(0, 12, 3, 30, is_for_good=False))
    assert (report.broken, report.attested_epochs) == ("", (1, 2, 3, 4))
