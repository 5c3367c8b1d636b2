"""Coverage-guided fuzzing with atheris: `python -m tests.fuzz --seconds 60`, or `make
fuzz SECONDS=60`.

Each target runs in a process of its own, since libFuzzer never gives one back. What it finds lies
in `.fuzz/`, one file a failure: put it into the corpus under a name that says what it is, and it
stays tested.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
FOUND = Path(".fuzz")
MAX_INPUT_BYTES = 4096
RSS_LIMIT_MB = 4096


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Fuzz every decoder.")
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together")
    parser.add_argument("--target", help="only this one")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options, rest = parser.parse_known_args()
    if options.inside:
        fuzz_one(options.target, rest)
        return 0
    try:
        import atheris  # noqa: F401
    except ImportError:
        print(
            "atheris has no wheel for this Python or system: nothing was fuzzed; the corpus is"
            " tested by pytest"
        )
        return 0
    names = [options.target] if options.target else [path.name for path in sorted(CORPUS.iterdir())]
    FOUND.mkdir(exist_ok=True)
    failed = [name for name in names if not run(name, max(1, options.seconds // len(names)))]
    print(f"fuzzed {len(names)} targets; failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


def run(name: str, seconds: int) -> bool:
    with tempfile.TemporaryDirectory() as fresh:
        limits = [
            f"-max_total_time={seconds}",
            f"-max_len={MAX_INPUT_BYTES}",
            f"-rss_limit_mb={RSS_LIMIT_MB}",
            "-timeout=10",
        ]
        command = [sys.executable, "-m", "tests.fuzz", "--inside", "--target", name, *limits]
        command += [
            f"-artifact_prefix={FOUND}/{name}-",
            "-print_final_stats=1",
            fresh,
            f"{CORPUS / name}",
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, errors="replace"
        )
    executed = [
        line.split()[-1]
        for line in done.stderr.splitlines()
        if line.startswith("stat::number_of_executed_units")
    ]
    print(
        f"{name}: {executed[0] if executed else 'no'} inputs in {seconds} s, exit"
        f" {done.returncode}",
        flush=True,
    )
    if done.returncode:
        print(f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.returncode == 0


def fuzz_one(name: str, arguments: list[str]) -> None:
    import atheris

    with atheris.instrument_imports(include=["epochgate"]):
        from tests.fuzz.targets import TARGETS
    atheris.Setup([sys.argv[0], *arguments], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
