"""The command `epochgate`, also as `python -m epochgate`."""

from __future__ import annotations

import sys


def main() -> None:
    try:
        from epochgate.cli import run_command  # noqa: PLC0415 - it needs an extra
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        sys.exit(
            "epochgate: the command line comes with nodes: run `pip install 'epochgate[node]'`"
        )
    sys.exit(run_command())


if __name__ == "__main__":
    main()
