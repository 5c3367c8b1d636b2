"""`epochgate replay`: decide again, offline, what a node's transcript says it decided."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from epochgate.core.types import Epoch
from epochgate.runtime.loading import DEFAULT_POLICY, InputError, load_object, load_policy
from epochgate.transcript.comparison import compare_epochs, compute_scores_digest
from epochgate.transcript.lines import EpochStarted
from epochgate.transcript.reader import TranscriptError, find_transcript, read_transcript
from epochgate.transcript.replay import EpochReplay, Replay, replay_files


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
    differs = _print(ours)
    if against is not None:
        theirs = {it.epoch: it for it in _replay(against, policy, judge, epoch)}
        differs |= any(it.differences for it in theirs.values())
        differs |= _print_comparison(ours, theirs, against)
    if differs:
        return 1
    return 0


def _replay(
    folder: Path, policy_name: str | None, judge_name: str | None, epoch: int | None
) -> list[EpochReplay]:
    try:
        files = find_transcript(folder)
        if epoch is not None:
            if epoch in files:
                files = {epoch: files[epoch]}
            else:
                files = {}
        begun = next(
            (
                it
                for path in files.values()
                for _, it in read_transcript(path)
                if isinstance(it, EpochStarted)
            ),
            None,
        )
        if begun is None:
            raise InputError(
                f"{folder}: no epoch begins in it: it has"
                f" {', '.join(map(str, find_transcript(folder)))}"
            )
        return list(replay_files(_make_replay(begun, policy_name, judge_name), files))
    except TranscriptError as error:
        raise InputError(str(error)) from None


def _make_replay(begun: EpochStarted, policy_name: str | None, judge_name: str | None) -> Replay:
    """A module is imported because a person names it, never because a transcript does."""
    policy = load_policy(policy_name or DEFAULT_POLICY)
    is_backtest = policy.digest.hex() != begun.policy_digest
    if is_backtest and policy_name is None:
        raise InputError(
            f"it was written under the policy {begun.policy} of digest {begun.policy_digest}: give"
            f" --policy {begun.policy} to replay it, or another one to backtest that"
        )
    if begun.judge and judge_name is None:
        raise InputError(
            f"its node had a judge of its own, a {begun.judge}: give --judge module:factory, which"
            " makes it from an EpochSchedule"
        )
    if is_backtest:
        typer.echo(
            f"backtest: {policy_name}, digest {policy.digest.hex()}, on what was judged by"
            f" {begun.policy_digest}"
        )
    make_judge: Any = None
    if judge_name:
        make_judge = load_object(judge_name, "--judge")
    return Replay(policy, make_judge, is_backtest=is_backtest)


def _print(replays: list[EpochReplay]) -> bool:
    for it in replays:
        if it.differences:
            differences = f"{len(it.differences)} differences"
        else:
            differences = "agrees"
        typer.echo(f"epoch {it.epoch}: {'; '.join([*_describe(it), differences])}")
        for words in it.gaps:
            typer.echo(f"  gap: {words}")
        for words in it.differences:
            typer.echo(f"  {words}")
    return any(it.differences for it in replays)


def _describe(it: EpochReplay) -> Iterator[str]:
    counts = [f"{count} {verdict}" for verdict, count in sorted(it.counts.items())]
    yield ", ".join(counts) or "nothing judged"
    if it.scored is not None:
        yield (
            f"scored: root {it.scored.set.root}, scores"
            f" {compute_scores_digest(it.scored.outcome.scores).hex()}"
        )
    if it.decision is not None:
        made = it.decision.settled
        if made:
            words = f": root {made.set.root}, scores {compute_scores_digest(made.pay).hex()}"
        else:
            words = ""
        yield f"{it.decision.decided}, about epoch {it.decision.epoch - 1}{words}"


def _print_comparison(
    ours: list[EpochReplay], theirs: dict[Epoch, EpochReplay], against: Path
) -> bool:
    shared = [it for it in ours if it.epoch in theirs]
    if not shared:
        raise InputError(
            f"--against {against}: it has no epoch in common with the other: name a node of the"
            " same subnet"
        )
    found = [
        f"epoch {it.epoch}: {words}"
        for it in shared
        for words in compare_epochs(it, theirs[it.epoch])
    ]
    for words in found or [f"both give the same in {len(shared)} epochs"]:
        typer.echo(words)
    return bool(found)
