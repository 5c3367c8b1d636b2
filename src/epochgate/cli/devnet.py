"""`epochgate devnet`: a whole subnet on loopback, each node a process of its own."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from epochgate.cli.files import check_output_file
from epochgate.cli.options import NodeOptions, add_node_options
from epochgate.models import load_model
from epochgate.runtime.loading import DEFAULT_POLICY, InputError, load_challenger, load_policy

MIN_EPOCH_SECONDS = 5.0
PASSED_ON = ("model", "challenger", "policy")
"""Settings that the nodes of a devnet are given as they come."""


@add_node_options(PASSED_ON)
def devnet(
    *,
    hosters: Annotated[int, typer.Option(min=1, help="How many nodes serve a model.")] = 4,
    validators: Annotated[int, typer.Option(min=1, help="How many nodes score them.")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="How many epochs to complete.")] = 2,
    epoch_seconds: Annotated[
        float, typer.Option(min=MIN_EPOCH_SECONDS, help="An epoch's length.")
    ] = 30.0,
    json: Annotated[
        Path | None, typer.Option(help="Where the summary goes, one object per epoch.")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--dir", help="Where keys, databases and logs go, and stay. Default: a temporary one."
        ),
    ] = None,
    options: NodeOptions,
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

    Under a fault that was asked for, an epoch is complete if all happened that the protocol still
    promises; what the fault cost is told. With adversaries, exit 0 also means that none earned
    more than the honest mean, and that no honest score was lowered.
    """
    from epochgate.cli.devnet_options import (  # noqa: PLC0415 - a node brings no devnet
        DevnetOptions,
        read_adversaries,
        read_faults,
    )
    from epochgate.cli.devnet_run import run_devnet  # noqa: PLC0415 - likewise

    for file, option in ((json, "--json"), (attack_json, "--attack-json")):
        if file is not None:
            check_output_file(file, option)
    wanted = DevnetOptions(
        hosters=hosters,
        validators=validators,
        epochs=epochs,
        epoch_seconds=epoch_seconds,
        settings=_check_settings(options),
        faults=read_faults(restart_node_at, absent_elected, late_node),
        adversaries=read_adversaries(adversary or ()),
        json=json,
        attack_json=attack_json,
    )
    wanted.check()
    run_folder = _make_folder(folder)
    is_clean = False
    try:
        is_clean = run_devnet(wanted, run_folder)
    except KeyboardInterrupt:
        is_clean = True
        raise
    finally:
        if folder is None and is_clean:
            shutil.rmtree(run_folder, ignore_errors=True)
        else:
            typer.echo(f"keys, databases and logs are in {run_folder}", file=sys.stderr)
    if is_clean:
        return 0
    return 1


def _check_settings(options: NodeOptions) -> dict[str, str]:
    """The settings to pass on. All are loaded here once, so that a wrong name is told at once, and
    not by every node.
    """
    settings = {name: str(value) for name, value in options.items() if value is not None}
    load_policy(settings.setdefault("policy", DEFAULT_POLICY))
    load_challenger(settings.get("challenger"))
    if "model" in settings:
        load_model(settings["model"])
    return settings


def _make_folder(folder: Path | None) -> Path:
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="epochgate-devnet-"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_empty = not any(folder.iterdir())
    except OSError as error:
        raise InputError(f"--dir {folder}: {error.strerror}") from None
    if not is_empty:
        raise InputError(
            f"--dir {folder}: it is not empty, and keys are never overwritten",
            "choose another one",
        )
    return folder.absolute()
