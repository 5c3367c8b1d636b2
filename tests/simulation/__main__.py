"""`python -m tests.simulation`: one seed with everything that befell it, or many and the share of
them that is green.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import multiprocessing
import shlex
import sys
import time
from collections.abc import Iterator

from epochgate.adversaries import ADVERSARIES
from tests.simulation.faults import WILD, WITHIN_F, Plan, draw_churn, draw_plan
from tests.simulation.run import Report, prepare_process, run_plan

TOLD_AFTER = 100


def main() -> int:
    options = _read_options()
    prepare_process()
    if options.churn is not None:
        return _run_churn(options)
    if options.seed is not None:
        return _run_one(options)
    return _run_many(options)


def _run_one(options: argparse.Namespace) -> int:
    plan = _draw(options, options.seed)
    print(plan)
    report = run_plan(plan)
    print(
        f"{len(report.attested_epochs)} submissions attested, {report.events} events and records,"
        f" digest {report.digest}"
    )
    if report.broken:
        _complain(options, report)
    return bool(report.broken)


def _run_churn(options: argparse.Namespace) -> int:
    epochs = options.epochs or 100
    plan = draw_churn(
        options.first, options.nodes, epochs, options.churn, is_for_good=options.for_good
    )
    report = run_plan(plan)
    how = "replaced by somebody new" if options.for_good else "back with an empty disk"
    completed = sum(1 <= epoch <= epochs for epoch in report.attested_epochs)
    print(
        f"{completed} of {epochs} epochs completed, {options.nodes} nodes, {options.churn} % of"
        f" them killed in each and {how}; digest {report.digest}"
    )
    if report.broken:
        print(f"broken: {report.broken}", *report.last, sep="\n  ")
    return bool(report.broken)


def _run_many(options: argparse.Namespace) -> int:
    began = time.perf_counter()
    broken: list[Report] = []
    seeds = range(options.first, options.first + options.seeds)
    attested = 0
    for count, report in enumerate(_run_all(options, seeds), 1):
        attested += len(report.attested_epochs)
        if report.broken:
            broken.append(report)
            _complain(options, report)
        if count % TOLD_AFTER == 0:
            print(
                f"{count} seeds, {count - len(broken)} green, {time.perf_counter() - began:.0f} s",
                flush=True,
            )
    green = options.seeds - len(broken)
    share = 100 * green / options.seeds
    print(
        f"{green} of {options.seeds} seeds green ({share:.1f} %), {options.nodes} nodes each,"
        f" {attested} submissions attested, {time.perf_counter() - began:.0f} s with {options.jobs}"
        " jobs"
    )
    return bool(broken)


def _run_all(options: argparse.Namespace, seeds: range) -> Iterator[Report]:
    if options.jobs == 1:
        yield from (run_plan(_draw(options, seed)) for seed in seeds)
        return
    context = multiprocessing.get_context(
        "spawn"
    )  # each worker is a fresh interpreter, with a hash seed of its own
    with concurrent.futures.ProcessPoolExecutor(options.jobs, context, prepare_process) as pool:
        yield from pool.map(run_plan, [_draw(options, seed) for seed in seeds], chunksize=4)


def _draw(options: argparse.Namespace, seed: int) -> Plan:
    adversaries = () if options.no_adversaries else tuple(sorted(ADVERSARIES))
    return draw_plan(seed, options.nodes, options.epochs, adversaries, options.faults)


def _complain(options: argparse.Namespace, report: Report) -> None:
    command = f"python -m simulation --seed {report.seed} --nodes {options.nodes}"
    command += f" --epochs {options.epochs}" if options.epochs else ""
    command += f" --faults {shlex.quote(options.faults)}" if options.faults else ""
    command += " --no-adversaries" if options.no_adversaries else ""
    print(
        f"seed {report.seed} broke: {report.broken}",
        *report.last,
        f"  again: {command}",
        sep="\n  ",
        flush=True,
    )


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--seed", type=int, help="run this seed, and tell what befell it")
    what.add_argument(
        "--seeds", type=int, help="run so many seeds, and tell the share that is green"
    )
    what.add_argument(
        "--churn",
        type=int,
        metavar="PERCENT",
        help="kill so many nodes an epoch, and count those completed",
    )
    parser.add_argument(
        "--for-good", action="store_true", help="with --churn: others take their places"
    )
    parser.add_argument("--first", type=int, default=0, help="the first of many seeds")
    parser.add_argument("--jobs", type=int, default=1, help="worker processes")
    parser.add_argument("--nodes", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=0, help="drawn from the seed unless given")
    parser.add_argument(
        "--faults", choices=(WITHIN_F, WILD), default="", help="drawn from the seed unless given"
    )
    parser.add_argument(
        "--no-adversaries", action="store_true", help="faults that nobody means, and no villains"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
