"""All benchmarks in one run: `python -m benchmarks`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from benchmarks import admission, clock, epochs, flood, large_outputs, scoring, store


def main() -> None:
    console = Console(width=140)
    table = Table("what", "seen", "aim", "")
    for module in (admission, clock, scoring, flood, epochs, store, large_outputs):
        for row in module.measure():
            mark = {True: "met", False: "missed", None: ""}[row.is_met]
            console.print(f"{row.what}: {row.seen} {mark}", style="dim")
            table.add_row(row.what, row.seen, row.aim, mark)
    console.print(table)


if __name__ == "__main__":
    main()
