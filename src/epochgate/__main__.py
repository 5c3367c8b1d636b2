"""The command `epochgate`, also as `python -m epochgate`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, and end the process with its exit code.

    A light installation, of the rules alone, lacks what the command line needs and says so.
    """
    try:
        from epochgate.cli import run_command  # noqa: PLC0415 - it needs an extra
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("epochgate"):
            raise
        sys.exit(
            "epochgate: the command line comes with nodes: run `pip install 'epochgate[node]'`"
        )
    sys.exit(run_command())


if __name__ == "__main__":
    main()
