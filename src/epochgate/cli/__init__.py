"""The command line: reads what a user asks for, and calls the library.

Commands import late what only they need, so that `epochgate policy` brings neither torch nor
hivemind, and `epochgate node` no devnet.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from epochgate._version import __version__
from epochgate.cli import (
    adversary,
    attack,
    calibrate,
    chain,
    devnet,
    local_chain,
    node,
    peers,
    policy,
    replay,
)
from epochgate.errors import EpochgateError

WRONG_INPUT = 2
INTERRUPTED = 130

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
app.command()(node.node)
app.command()(peers.peers)
app.command()(policy.keygen)
app.command()(policy.policy)
app.command()(devnet.devnet)
app.command(hidden=True)(adversary.adversary)
app.command()(attack.attack)
app.command("calibrate")(calibrate.calibrate_model)
app.add_typer(local_chain.app, name="local-chain")
app.add_typer(chain.app, name="chain")
app.command()(replay.replay)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def describe(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """A record store in which every replica enforces what may be stored, by whom, when and for how
    long.
    """


def run_command(arguments: list[str] | None = None) -> int:
    """Run the command that `arguments` name; those of the process for None.

    What cannot be done is said in one line on standard error.

    Returns:
        The exit code: 0 done; 1 done but not well, or not possible; 2 wrong input; 130 interrupted.
    """
    try:
        code = app(args=arguments, prog_name="epochgate", standalone_mode=False)
    except typer.TyperException as error:
        return _refuse_usage(error)
    except EpochgateError as error:
        return _refuse(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    if isinstance(code, int):
        return code
    return 0


def _refuse_usage(error: typer.TyperException) -> int:
    """An option or a command that there is not, or a value that Typer does not take."""
    context = getattr(error, "ctx", None)
    command = "epochgate"
    if context:
        command = context.command_path
    message = error.format_message()
    if not message:  # the help was shown instead
        return WRONG_INPUT
    return _refuse(f"{message.rstrip('.')}; see `{command} --help`")


def _refuse(message: str, exit_code: int = WRONG_INPUT) -> int:
    typer.echo(f"epochgate: {' '.join(message.split())}", file=sys.stderr)
    return exit_code
