"""What import contracts cannot say (they stand in pyproject.toml, and `lint-imports` keeps
them).
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import epochgate
from epochgate.keys import FILE_PREFIX, SigningKey

ROOT = Path(epochgate.__file__).parent
REPOSITORY = ROOT.parents[1]
MODULES = sorted(ROOT.rglob("*.py"))
MAX_LINES = 400

UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CLOCKS = {
    "time.time",
    "time.time_ns",
    "time.monotonic",
    "time.perf_counter",
    "datetime.now",
    "datetime.utcnow",
}
THREADS = {"asyncio.to_thread", "loop.run_in_executor", "threading.Thread"}
CHANCE = {
    "os.urandom",
    "secrets.token_bytes",
    "random.random",
    "random.shuffle",
    "random.choice",
    "random.randint",
}
EDGES = {
    "engine/system.py": CLOCKS | THREADS | CHANCE,
    "chain/local/registry.py": CHANCE,  # a new chain's genesis
    "chain/hypertensor/account.py": CHANCE,  # a new key
}
"""Who may ask the machine for time, threads and chance; everybody else is handed a port."""


def get_name(module: Path) -> str:
    return module.relative_to(ROOT).as_posix()


def parse(module: Path) -> ast.Module:
    return ast.parse(module.read_text(), filename=str(module))


def find_imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def find_calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    """Each call by the last two parts of its name: `time.time`, or `eval` alone."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            yield ".".join(name.split(".")[-2:]), node


EVERYTHING = sorted(
    path
    for folder in ("src", "tests", "benchmarks", "examples")
    for path in (REPOSITORY / folder).rglob("*.py")
)
DANGERS = {
    "tests/fixtures/upstream_listing.py": {
        "torch.load",
        "weights_only=False",
    },  # the upstream template's words; `torch` is ours, and never unpickles
    "tests/fuzz/targets.py": {
        "torch.load",
        "weights_only=False",
    },  # ours as well, asked as the upstream template asks it
    "tests/unit/predicate/test_safe_torch.py": {
        "torch.load",
        "weights_only=False",
    },  # ours as well
    "tests/unit/predicate/test_predicate.py": {"import pickle"},  # makes bombs
    "tests/unit/schemas/test_torch_file.py": {"import pickle"},  # makes bombs
    "tests/network/test_plain_hivemind.py": {"import pickle"},  # makes bombs
    "benchmarks/admission.py": {"torch.load"},  # what ours is compared with, on a file of its own
}
"""Who may name what unpickles or runs text, each for a reason; nobody in src may."""


def find_dangers(tree: ast.Module) -> Iterator[str]:
    yield from (f"import {name}" for name in UNPICKLERS & set(find_imports(tree)))
    for name, call in find_calls(tree):
        if name in {"eval", "exec", "torch.load", "real_torch.load", "np.load", "numpy.load"}:
            yield name
        for keyword in call.keywords:
            is_true = isinstance(keyword.value, ast.Constant) and bool(keyword.value.value)
            if keyword.arg == "weights_only" and not is_true:
                yield "weights_only=False"
            if keyword.arg == "allow_pickle" and not (
                isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            ):
                yield "allow_pickle=True"


@pytest.mark.parametrize(
    "path", EVERYTHING, ids=lambda path: path.relative_to(REPOSITORY).as_posix()
)
def test_nothing_unpickles_or_evaluates_text(path: Path) -> None:
    assert set(find_dangers(parse(path))) == DANGERS.get(
        path.relative_to(REPOSITORY).as_posix(), set()
    )


@pytest.mark.parametrize(
    ("text", "danger"),
    [
        ("import pickle", "import pickle"),
        ("from dill import loads", "import dill"),
        ("eval(text)", "eval"),
        ("torch.load(file)", "torch.load"),
        ("load(file, weights_only=False)", "weights_only=False"),
        ("load(file, weights_only=chosen)", "weights_only=False"),
        ("np.load(file, allow_pickle=chosen)", "allow_pickle=True"),
    ],
)
def test_a_danger_is_found(text: str, danger: str) -> None:
    assert danger in set(find_dangers(ast.parse(text)))


@pytest.mark.parametrize("module", MODULES, ids=get_name)
def test_only_the_edges_ask_for_time_threads_and_chance(module: Path) -> None:
    asked = {name for name, _ in find_calls(parse(module)) if name in CLOCKS | THREADS | CHANCE}
    asked |= {
        "asyncio.to_thread"
        for name, _ in find_calls(parse(module))
        if name.endswith(".run_in_executor")
    }
    assert asked <= EDGES.get(get_name(module), set())


@pytest.mark.parametrize(
    "module", [module for module in MODULES if get_name(module).startswith("core/")], ids=get_name
)
def test_the_core_never_waits(module: Path) -> None:
    assert not any(
        isinstance(node, ast.AsyncFunctionDef | ast.Await) for node in ast.walk(parse(module))
    )


def test_at_the_top_stand_packages_and_what_all_of_them_share() -> None:
    modules = {path.stem for path in ROOT.glob("*.py")}
    assert modules == {"__init__", "__main__", "_version", "errors", "keys", "ports"}
    packages = [path for path in ROOT.iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert [path.name for path in packages if not (path / "__init__.py").is_file()] == []


@pytest.mark.parametrize("module", MODULES, ids=get_name)
def test_a_module_has_one_idea(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= MAX_LINES


def find_modules_after(statement: str) -> set[str]:
    program = (
        "import json, sys\nbefore ="
        f" set(sys.modules)\n{statement}\nprint(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    return set(json.loads(done.stdout))


def test_importing_the_package_is_light() -> None:
    brought = find_modules_after("import epochgate")
    assert not brought & {"torch", "hivemind", "pydantic", "numpy", "msgspec", "asyncio"}
    assert len(brought) <= 40, "a handful of the standard library"


def test_the_default_policy_needs_no_node() -> None:
    brought = find_modules_after(
        "from epochgate import INFERENCE_POLICY, Policy, Record, SigningKey; str(INFERENCE_POLICY)"
    )
    assert not brought & {"torch", "hivemind", "typer", "rich"}


def test_the_command_line_brings_a_node_only_where_it_runs_one() -> None:
    brought = find_modules_after("import epochgate.cli, epochgate.devnet.supervisor")
    assert not brought & {"torch", "hivemind"}


def test_a_production_nodes_process_brings_no_devnet_and_no_adversary() -> None:
    """The contract on imports does not see that a package brings all that its `__init__` does."""
    brought = find_modules_after(
        "from epochgate.cli import run_command; run_command(['node', '--print-config'])"
    )
    assert "epochgate.cli.node" in brought
    assert not [name for name in brought if name.startswith(("epochgate.devnet", "epochgate.adv"))]


UNTRACKED = {".git", ".venv", ".fuzz", "node_modules", "__pycache__"}


def find_files(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and entry.name not in UNTRACKED and not entry.name.endswith("_cache"):
            yield from find_files(entry)
        elif entry.is_file():
            yield entry


def is_key(data: bytes) -> bool:
    """A libp2p identity, or what OpenSSL writes."""
    return (
        data.startswith(FILE_PREFIX)
        or re.match(rb"\s*-----BEGIN [A-Z ]*PRIVATE KEY-----", data) is not None
    )


def test_the_repository_holds_no_key(tmp_path: Path) -> None:
    assert [file for file in find_files(REPOSITORY) if is_key(file.read_bytes())] == []
    SigningKey.create(tmp_path / "identity")
    assert is_key((tmp_path / "identity").read_bytes())
    assert is_key(b"-----BEGIN " + b"EC PRIVATE KEY-----")


PICTURES = sorted((REPOSITORY / "docs" / "images").glob("*.svg"))


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_a_picture_is_small_and_shown(picture: Path) -> None:
    pages = [page.read_text() for page in picture.parents[1].rglob("*.md")]
    assert picture.stat().st_size < 60_000
    assert any(f"images/{picture.name}" in page for page in pages)
