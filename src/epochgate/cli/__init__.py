"""The command line: reads what a user asks for, and calls the library.

Commands import late what only they need, so that `epochgate policy` brings neither torch nor
hivemind, and `epochgate node` no devnet.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from epochgate._version import __version__
from epochgate.cli.adversary import adversary
from epochgate.cli.attack import attack
from epochgate.cli.calibrate import calibrate_model
from epochgate.cli.chain import app as chain
from epochgate.cli.devnet import devnet
from epochgate.cli.local_chain import app as local_chain
from epochgate.cli.node import node
from epochgate.cli.peers import peers
from epochgate.cli.policy import keygen, policy
from epochgate.cli.replay import replay
from epochgate.errors import EpochgateError

WRONG_INPUT = 2
INTERRUPTED = 130

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
app.command()(node)
app.command()(peers)
app.command()(keygen)
app.command()(policy)
app.command()(devnet)
app.command(hidden=True)(adversary)
app.command()(attack)
app.command("calibrate")(calibrate_model)
app.add_typer(local_chain, name="local-chain")
app.add_typer(chain, name="chain")
app.command()(replay)


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
