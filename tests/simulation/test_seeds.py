"""The simulator itself: one seed is one run, byte for byte, and a plan keeps to its budget."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation import faults
from tests.simulation.faults import Plan, compute_f, draw_plan
from tests.simulation.run import run_plan

TESTS = Path(__file__).parent.parent


def run_in_a_process(hash_seed: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "PYTHONHASHSEED": str(hash_seed),
        "PYTHONPATH": f"{TESTS.parent / 'src'}:{TESTS.parent}",
    }
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_the_same_seed_gives_the_same_run_byte_for_byte() -> None:
    few = ("--nodes", "8", "--epochs", "2")
    first, second = (run_in_a_process(hash_seed, "--seed", "3", *few) for hash_seed in (1, 2))
    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stdout == second.stdout
    assert "digest" in first.stdout
    assert run_in_a_process(1, "--seed", "4", *few).stdout != first.stdout


@pytest.mark.parametrize("seed", range(12))
def test_what_is_promised_holds_under_the_faults_of_a_seed(seed: int) -> None:
    plan = draw_plan(seed)
    assert run_plan(plan).broken == "", plan


def count_faulty(plan: Plan, block: float) -> int:
    down = {
        name
        for it in plan.faults_drawn
        if it.kind != faults.JOIN and it.begins <= block <= it.ends
        for name in it.nodes
    }
    return len(down | plan.adversaries.keys())


def test_a_plan_keeps_to_its_budget() -> None:
    for seed in range(300):
        for budget in (faults.WITHIN_F, faults.WILD):
            plan = draw_plan(seed, adversary_kinds=("copier", "forger"), budget=budget)
            worst = max((count_faulty(plan, it.begins) for it in plan.faults_drawn), default=0)
            assert worst <= (compute_f(12) if budget == faults.WITHIN_F else 12)
            healed_block = (plan.epochs - 1) * 100 - faults.QUIET_BLOCKS
            assert all(it.ends <= healed_block for it in plan.faults_drawn)
        assert plan == draw_plan(seed, adversary_kinds=("copier", "forger"), budget=faults.WILD)


def test_epochs_complete_while_a_third_of_the_nodes_lose_everything_in_each() -> None:
    report = run_plan(faults.draw_churn(0, 12, 3, 30, is_for_good=False))
    assert (report.broken, report.attested_epochs) == ("", (1, 2, 3, 4))


def test_epochs_complete_while_a_sixth_of_the_nodes_go_for_good_in_each() -> None:
    """Two of twelve: by the time an epoch is settled more replicas of its first keys are gone than
    f allows, but they were read before.
    """
    report = run_plan(faults.draw_churn(0, 12, 3, 17, is_for_good=True))
    assert (report.broken, report.attested_epochs) == ("", (1, 2, 3, 4))


def test_nodes_that_share_what_they_read_live_the_same_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = draw_plan(5, 10, 2, ("withholder", "two-faced"), faults.WITHIN_F)
    alone = run_plan(plan)
    monkeypatch.setattr(faults, "LARGE", 9)
    assert plan.is_large
    assert run_plan(plan) == alone
