"""`epochgate replay`: decide again, offline, what a node has decided, from its transcript."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from epochgate.core.policy import Judge
from epochgate.core.schedule import EpochSchedule
from epochgate.runtime.loading import DEFAULT_POLICY, InputError, load_object, load_policy
from epochgate.transcript.comparison import compare_epochs, compute_scores_digest
from epochgate.transcript.epoch_replay import EpochReplay
from epochgate.transcript.lines import DecisionMade, EpochStarted
from epochgate.transcript.reader import find_transcript, read_transcript
from epochgate.transcript.replay import MakeJudge, Replay, replay_files


def replay(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A node's data folder, or the transcript in it.")
    ],
    policy: Annotated[
        str | None,
        typer.Option(
            help="The policy, as module:NAME; another than the transcript's is backtested."
        ),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            help=(
                "What makes the judge from an EpochSchedule, as module:factory, where the node"
                " had its own."
            )
        ),
    ] = None,
    epoch: Annotated[int | None, typer.Option(min=0, help="Only this epoch's file.")] = None,
    against: Annotated[
        Path | None, typer.Option(help="Another node's folder: do both give the same scores?")
    ] = None,
) -> int:
    """Recompute a transcript's verdicts, proofs and scores, offline; exit 1 if anything differs."""
    ours = _replay(folder, policy, judge, epoch)
    _print(ours)
    differs = _differ(ours)
    if against is not None:
        theirs = _replay(against, policy, judge, epoch)
        differs |= _differ(theirs)
        differs |= _print_comparison(ours, theirs, against)
    if differs:
        return 1
    return 0


def _replay(
    folder: Path, policy_name: str | None, judge_name: str | None, epoch: int | None
) -> list[EpochReplay]:
    """The epochs of a transcript, judged again; only `epoch` where it is given."""
    found = find_transcript(folder)
    files = {number: path for number, path in found.items() if epoch in (None, number)}
    begun = _find_start(files.values())
    if begun is None:
        raise InputError(f"{folder}: no epoch begins in it: it has {', '.join(map(str, found))}")
    return list(replay_files(_make_replay(begun, policy_name, judge_name), files))


def _find_start(files: Iterable[Path]) -> EpochStarted | None:
    """The first line that tells the policy and the judge."""
    for path in files:
        for _, line in read_transcript(path):
            if isinstance(line, EpochStarted):
                return line
    return None


def _make_replay(begun: EpochStarted, policy_name: str | None, judge_name: str | None) -> Replay:
    """A module is imported because a person names it, never because a transcript does."""
    policy = load_policy(policy_name or DEFAULT_POLICY)
    is_backtest = policy.digest.hex() != begun.policy_digest
    if is_backtest and policy_name is None:
        raise InputError(
            f"it was written under the policy {begun.policy} of digest {begun.policy_digest}",
            f"give --policy {begun.policy} to replay it, or another one to backtest that",
        )
    if begun.judge and judge_name is None:
        raise InputError(
            f"its node had a judge of its own, a {begun.judge}",
            "give --judge module:factory, which makes it from an EpochSchedule",
        )
    if is_backtest:
        typer.echo(
            f"backtest: {policy_name}, digest {policy.digest.hex()}, on what was judged by"
            f" {begun.policy_digest}"
        )
    make_judge = None
    if judge_name is not None:
        make_judge = _load_judge(judge_name)
    return Replay(policy, make_judge, is_backtest=is_backtest)


def _load_judge(name: str) -> MakeJudge:
    """The factory. Where it fails, the replay says so of the line that needs the judge."""
    factory: MakeJudge = load_object(name, "--judge")
    if not callable(factory):
        raise InputError(
            f"--judge {name} cannot be called", "name what makes a judge from an EpochSchedule"
        )

    def make_judge(schedule: EpochSchedule) -> Judge:
        try:
            return factory(schedule)
        except Exception as error:  # noqa: BLE001 - somebody else's factory may raise anything
            raise InputError(
                f"--judge {name}: calling it failed: {type(error).__name__}: {error}"
            ) from None

    return make_judge


def _differ(replays: Iterable[EpochReplay]) -> bool:
    return any(replayed.differences for replayed in replays)


def _print(replays: Iterable[EpochReplay]) -> None:
    for replayed in replays:
        typer.echo(f"epoch {replayed.epoch}: {'; '.join(_describe(replayed))}")
        for gap in replayed.gaps:
            typer.echo(f"  gap: {gap}")
        for difference in replayed.differences:
            typer.echo(f"  {difference}")


def _describe(replayed: EpochReplay) -> Iterator[str]:
    counts = [f"{count} {verdict}" for verdict, count in sorted(replayed.counts.items())]
    yield ", ".join(counts) or "nothing judged"
    if replayed.scored is not None:
        scores = compute_scores_digest(replayed.scored.outcome.scores)
        yield f"scored: root {replayed.scored.set.root}, scores {scores.hex()}"
    if replayed.decision is not None:
        yield _describe_decision(replayed.decision)
    if replayed.differences:
        yield f"{len(replayed.differences)} differences"
    else:
        yield "agrees"


def _describe_decision(decision: DecisionMade) -> str:
    message = f"{decision.decided}, about epoch {decision.epoch - 1}"
    settled = decision.settled
    if settled is None:
        return message
    scores = compute_scores_digest(settled.pay)
    return f"{message}: root {settled.set.root}, scores {scores.hex()}"


def _print_comparison(
    ours: Iterable[EpochReplay], theirs: Iterable[EpochReplay], against: Path
) -> bool:
    """Print where two nodes differ in the epochs that both have, and tell whether they do."""
    theirs_by_epoch = {replayed.epoch: replayed for replayed in theirs}
    shared = [replayed for replayed in ours if replayed.epoch in theirs_by_epoch]
    if not shared:
        raise InputError(
            f"--against {against}: it has no epoch in common with the other",
            "name a node of the same subnet",
        )
    found = [
        f"epoch {replayed.epoch}: {difference}"
        for replayed in shared
        for difference in compare_epochs(replayed, theirs_by_epoch[replayed.epoch])
    ]
    for line in found or [f"both give the same in {len(shared)} epochs"]:
        typer.echo(line)
    return bool(found)
