"""Do the core's tests notice when the core is wrong? `python -m tests.mutation --count 60`.

Each mutant lives in a copy of src in a temporary folder, and tests/unit/core judges it: the tests
of its own module first. Exit 1 when fewer than `--floor` percent are killed. With `--changed` only
lines that differ from the commit `--base` are mutated.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.mutation.sites import Mutant, list_mutants

REPOSITORY = Path(__file__).parents[2]
CORE = REPOSITORY / "src" / "epochgate" / "core"
TESTS = REPOSITORY / "tests" / "unit" / "core"
LEFT_OUT = frozenset({"__init__.py", "policy_render.py", "policy_lint.py", "types.py"})
"""Words for people, and names; a mutant of theirs gives no wrong verdict."""
SLOW = frozenset({"test_record.py", "test_policy_reference.py", "test_scoring_machines.py"})
"""Asked last, of the mutants that all others let live."""
LONGEST_SECONDS = 180.0
"""A mutant that never ends is killed as well: by its tests' patience."""
HUNK = re.compile(r"^@@ -\S+ \+(\d+)(?:,(\d+))? @@")


def main() -> int:
    options = _read_options()
    found = list(_list_all(_find_changed_lines(options.base) if options.changed else None))
    chosen = random.Random(options.seed).sample(found, min(options.count, len(found)))
    survivors = [mutant for mutant in chosen if not _is_killed(mutant)]
    for mutant in survivors:
        place = f"{mutant.module.relative_to(REPOSITORY)}:{mutant.line}"
        print(f"survived: {place}: {mutant.what}: {mutant.before} -> {mutant.after}")
    killed = len(chosen) - len(survivors)
    share = 100 * killed / len(chosen) if chosen else 100.0
    print(
        f"{killed} / {len(chosen)} mutants killed ({share:.0f} %), of {len(found)} that there are"
    )
    return 0 if share >= options.floor else 1


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("--count", type=int, default=60, help="how many mutants are tried at most")
    parser.add_argument("--seed", type=int, default=1, help="which of them")
    parser.add_argument("--floor", type=float, default=90.0, help="percent that have to be killed")
    parser.add_argument("--changed", action="store_true", help="only on lines that changed")
    parser.add_argument("--base", default="HEAD", help="the commit that lines are compared with")
    return parser.parse_args()


def _list_all(changed: dict[Path, frozenset[int]] | None) -> Iterator[Mutant]:
    for module in sorted(CORE.glob("*.py")):
        if module.name in LEFT_OUT:
            continue
        if changed is None:
            yield from list_mutants(module)
        elif module in changed:
            yield from list_mutants(module, changed[module])


def _find_changed_lines(base: str) -> dict[Path, frozenset[int]]:
    """The lines of each module that are new since `base`."""
    command = ["git", "diff", "--unified=0", "--no-color", base, "--", str(CORE)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    lines: dict[Path, set[int]] = {}
    module = CORE
    for line in done.stdout.splitlines():
        if line.startswith("+++ "):
            module = REPOSITORY / line[6:]
        elif hunk := HUNK.match(line):
            first = int(hunk[1])
            count = int(hunk[2] or 1)
            lines.setdefault(module, set()).update(range(first, first + count))
    return {path: frozenset(numbers) for path, numbers in lines.items()}


def _is_killed(mutant: Mutant) -> bool:
    with tempfile.TemporaryDirectory(prefix="epochgate-mutant-") as folder:
        source = Path(folder) / "src"
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / "src", source, ignore=ignore)
        (source / mutant.module.relative_to(REPOSITORY / "src")).write_text(mutant.text)
        return any(_fails(source, group) for group in _group_tests(mutant.module) if group)


def _group_tests(module: Path) -> Iterator[list[str]]:
    """The module's own tests first, the slow ones last: most mutants die early."""
    own = f"test_{module.name}"
    names = sorted(path.name for path in TESTS.glob("test_*.py"))
    yield [name for name in names if name == own]
    yield [name for name in names if name != own and name not in SLOW]
    yield [name for name in names if name != own and name in SLOW]


def _fails(source: Path, names: list[str]) -> bool:
    """Whether these tests fail with `source` in the place of the installed package."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=no"]
    command += [str(TESTS / name) for name in names]
    environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command,
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            check=False,
            timeout=LONGEST_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


if __name__ == "__main__":
    sys.exit(main())
