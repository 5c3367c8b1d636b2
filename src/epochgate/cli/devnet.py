"""`epochgate devnet`: a whole subnet on loopback, each node a process of its own."""

from __future__ import annotations

import asyncio
import math
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from epochgate.chain.local import LocalChain
from epochgate.cli.adversaries import load_adversaries
from epochgate.cli.devnet_cast import (
    BLOCKS_PER_EPOCH,
    BOOTSTRAP_NODES,
    DevnetOptions,
    get_late,
    make_waves,
    plan_outages,
    register_cast,
)
from epochgate.core.policy_lint import check_policy
from epochgate.core.types import BlockNumber
from epochgate.devnet.attack import compute_outcomes, describe_end, render_outcomes
from epochgate.devnet.faults import (
    Faults,
    Outage,
)
from epochgate.devnet.supervisor import Devnet, DevnetError, Plan, make_console
from epochgate.engine.system import SystemClock
from epochgate.models import load_model
from epochgate.runtime.loading import DEFAULT_POLICY, InputError, load_challenger, load_policy

START_SECONDS = 1.0
"""From the chain's start to the subnet's first block: every node has seen it by then."""
MIN_EPOCH_SECONDS = 5.0


def devnet(
    hosters: Annotated[int, typer.Option(min=1, help="How many nodes serve a model.")] = 4,
    validators: Annotated[int, typer.Option(min=1, help="How many nodes score them.")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="How many epochs to complete.")] = 2,
    epoch_seconds: Annotated[
        float, typer.Option(min=MIN_EPOCH_SECONDS, help="An epoch's length.")
    ] = 30.0,
    json: Annotated[
        Path | None, typer.Option(help="Where the summary goes, one object an epoch.")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--dir", help="Where keys, databases and logs go, and stay. Default: a temporary one."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="The model that hosters serve, named as for `epochgate node`."),
    ] = None,
    challenger: Annotated[
        str | None,
        typer.Option(
            help=(
                "What chooses the challenges of a policy that leaves them open, as for `epochgate"
                " node`."
            )
        ),
    ] = None,
    policy: Annotated[
        str, typer.Option(help="The subnet's policy, as module:NAME.")
    ] = DEFAULT_POLICY,
    restart_node_at: Annotated[
        str | None,
        typer.Option(
            help=(
                "Kill a hoster (SIGKILL) after so much of the last epoch, as 45%, and start it"
                " again."
            )
        ),
    ] = None,
    absent_elected: Annotated[
        bool,
        typer.Option(
            "--absent-elected", help="Take away the elected node of an epoch before it publishes."
        ),
    ] = False,
    late_node: Annotated[
        bool, typer.Option("--late-node", help="Start one hoster in the middle of epoch 0.")
    ] = False,
    adversary: Annotated[
        list[str] | None,
        typer.Option(
            help="Add adversaries, as NAME or NAME:HOW-MANY; a wrong name shows all of them."
        ),
    ] = None,
    attack_json: Annotated[
        Path | None, typer.Option(help="Where goes what the adversaries earned and cost.")
    ] = None,
) -> int:
    """Run a whole subnet on this machine; exit 0 only if every epoch was complete.

    Under a fault that was asked for, complete is all that the protocol still promises; what the
    fault cost is said. With adversaries, exit 0 also means that none earned more than the honest
    mean, and that no honest score was lowered.
    """
    for file, option in ((json, "--json"), (attack_json, "--attack-json")):
        if file is not None and not file.absolute().parent.is_dir():
            raise InputError(
                f"{option} {file}: there is no folder {file.absolute().parent}: make it first"
            )
    faults = Faults(_read_share(restart_node_at), absent_elected, late_node)
    adversaries = tuple(name for text in adversary or () for name in _read_adversaries(text))
    _check_faults(faults, hosters, validators, epochs, len(adversaries))
    load_policy(policy)  # so that a wrong name is told at once, and not by every node
    load_challenger(challenger)
    if model is not None:
        load_model(model)
    is_temporary = folder is None
    options = DevnetOptions(
        hosters,
        validators,
        epochs,
        epoch_seconds,
        model,
        challenger,
        policy,
        faults,
        adversaries,
        attack_json,
        _make_folder(folder),
    )
    is_clean = False
    try:
        is_clean = _run(options, json)
    except KeyboardInterrupt:
        is_clean = True
        raise
    finally:
        if is_temporary and is_clean:
            shutil.rmtree(options.folder, ignore_errors=True)
        else:
            typer.echo(f"keys, databases and logs are in {options.folder}", file=sys.stderr)
    if is_clean:
        return 0
    return 1


def _run(options: DevnetOptions, json: Path | None) -> bool:
    """Returns whether every epoch was complete, and every adversary harmless."""
    clock = SystemClock()
    chain_file = options.folder / "chain.sqlite"
    LocalChain.create(
        chain_file,
        clock,
        block_seconds=options.epoch_seconds / BLOCKS_PER_EPOCH,
        blocks_per_epoch=BLOCKS_PER_EPOCH,
    )
    chain = LocalChain(chain_file, None, clock)
    policy = load_policy(options.policy)
    check_policy(
        policy, chain.timing, options.hosters + options.validators + len(options.adversaries)
    )
    cast = register_cast(options, chain)

    def start_chain() -> list[Outage]:
        chain.start(
            BlockNumber(
                chain.get_head().block + math.ceil(START_SECONDS / chain.timing.block_seconds)
            )
        )
        return list(plan_outages(options, cast, chain))

    waves = make_waves(options, cast, chain_file)
    if options.faults.has_late_node:
        late = {get_late(cast).name}
    else:
        late = set()
    later = {name: command for name, command in waves[-1].items() if name in late}
    waves[-1] = {name: command for name, command in waves[-1].items() if name not in late}
    plan = Plan(cast, policy, options.epochs, waves, options.folder, later)
    run = Devnet(plan, chain, start_chain, make_console())
    try:
        summaries = asyncio.run(run.run())
    except DevnetError as error:
        typer.echo(f"epochgate: {error}", file=sys.stderr)
        return False
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None  # SIGTERM, which ends it as Ctrl-C does
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(summaries), indent=2) + b"\n")
    outcomes = compute_outcomes(run.chronicle, summaries)
    if outcomes:
        adversaries = load_adversaries()
        run.console.print(
            render_outcomes(
                outcomes, {name: adversary.aim for name, adversary in adversaries.items()}
            )
        )
        for words in describe_end(outcomes):
            run.console.print(words, soft_wrap=True)
    if options.attack_json is not None:
        options.attack_json.write_bytes(msgspec.json.encode(outcomes) + b"\n")
    return all(summary.complete for summary in summaries) and all(
        outcome.is_harmless for outcome in outcomes
    )


def _read_share(text: str | None) -> float | None:
    """`45%` as 0.45."""
    if text is None:
        return None
    try:
        share = float(text.removesuffix("%")) / 100
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise InputError(
            f"--restart-node-at {text!r}: write a part of the epoch below 100%, as in 45%"
        )
    return share


def _read_adversaries(text: str) -> list[str]:
    """`copier:2` as two copiers."""
    adversaries = load_adversaries()
    name, _, count = text.partition(":")
    if name not in adversaries:
        raise InputError(
            f"--adversary {text}: there is no such one; there are {', '.join(adversaries)}"
        )
    if not (count or "1").isdecimal() or int(count or "1") < 1:
        raise InputError(
            f"--adversary {text}: write how many of them behind the colon, as in {name}:2"
        )
    return [name] * int(count or "1")


def _check_faults(
    faults: Faults, hosters: int, validators: int, epochs: int, adversaries: int
) -> None:
    """Raises InputError for a subnet too small to live through what is asked for."""
    bad = faults.compute_most_away(epochs) + adversaries
    nodes = hosters + validators + adversaries
    if bad and nodes <= 3 * bad:
        raise InputError(
            f"{nodes} nodes tolerate {max(0, (nodes - 1) // 3)} that are away or dishonest, and"
            f" {bad} are at a time: run at least {3 * bad + 1} nodes in all, so"
            f" {3 * bad + 1 - adversaries} honest ones, or more epochs"
        )
    if adversaries and hosters < 3:
        raise InputError(
            "hosters are paid when three agree, so an attack on fewer shows nothing: --hosters 3 or"
            " more"
        )
    least = BOOTSTRAP_NODES + (faults.restart_at is not None) + faults.has_late_node
    if least > BOOTSTRAP_NODES and hosters < least:
        raise InputError(
            f"the first {BOOTSTRAP_NODES} nodes are those that others begin with, so they stay:"
            f" --hosters {least}"
        )
    if faults.has_absent_elected and validators < 2:
        raise InputError(
            "--absent-elected needs a validator that stands in: --validators 2 or more"
        )


def _make_folder(folder: Path | None) -> Path:
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="epochgate-devnet-"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InputError(
                f"--dir {folder}: it is not empty, and keys are never overwritten: choose"
                " another one"
            )
    except OSError as error:
        raise InputError(f"--dir {folder}: {error.strerror}") from None
    return folder.absolute()
