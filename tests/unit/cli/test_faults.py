"""A file that cannot be used ends every command in one line and an exit code, never in a
traceback.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from epochgate.chain.local import LocalChain
from epochgate.cli import run_command
from epochgate.engine.system import SystemClock
from epochgate.keys import SigningKey

COMMANDS = {
    "register": ["local-chain", "register", "CHAIN", "--identity", "KEY", "--role", "hoster"],
    "start": ["local-chain", "start", "CHAIN"],
    "show": ["local-chain", "show", "CHAIN"],
    "peers": ["peers", "--chain", "local:CHAIN"],
    "node": [
        *["node", "--role", "hoster", "--chain", "local:CHAIN", "--identity", "KEY"],
        *["--data", "DATA"],
    ],
}
WRITERS = ("register", "start")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    SigningKey.create(tmp_path / "node.key")
    return tmp_path / "node.key"


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("epochgate.chain.local.file.LOCK_SECONDS", 0.05)
    LocalChain.create(tmp_path / "chain.sqlite", SystemClock(), block_seconds=6.0)
    return tmp_path / "chain.sqlite"


def run(name: str, chain: Path, key: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    names = {"CHAIN": str(chain), "KEY": str(key), "DATA": str(key.parent / "data")}
    arguments = []
    for part in COMMANDS[name]:
        for placeholder, value in names.items():
            part = part.replace(placeholder, value)  # noqa: PLW2901 - one placeholder after another
        arguments.append(part)
    code = run_command(arguments)
    return code, capsys.readouterr().err


@contextmanager
def hold_lock(chain: Path) -> Iterator[None]:
    """As another process does that writes, and takes its time."""
    other = sqlite3.connect(chain, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        yield
    finally:
        other.close()


@pytest.mark.parametrize("name", WRITERS)
def test_a_chain_file_that_another_process_holds_is_told_in_one_line(
    name: str, chain: Path, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with hold_lock(chain):
        code, told = run(name, chain, key, capsys)
    assert code == 1
    assert told.startswith("epochgate: the chain file cannot be written now")
    assert told.count("\n") == 1


def remove(chain: Path) -> None:
    chain.unlink()


def make_folder(chain: Path) -> None:
    chain.unlink()
    chain.mkdir()


def spoil(chain: Path) -> None:
    chain.write_bytes(b"no database at all" * 1000)


def empty(chain: Path) -> None:
    chain.write_bytes(b"")


def be_another_database(chain: Path) -> None:
    chain.unlink()
    other = sqlite3.connect(chain)
    other.execute("CREATE TABLE notes (text)")
    other.close()


def cut_short(chain: Path) -> None:
    data = chain.read_bytes()
    chain.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    "harm", [remove, make_folder, spoil, empty, be_another_database, cut_short]
)
def test_a_chain_file_that_is_none_is_told_in_one_line(
    name: str,
    harm: Callable[[Path], None],
    chain: Path,
    key: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    harm(chain)
    code, told = run(name, chain, key, capsys)
    assert code == 2
    assert told.startswith("epochgate: ")
    assert told.count("\n") == 1


@pytest.mark.parametrize("name", ["register", "node"])
@pytest.mark.parametrize("harm", [remove, make_folder, spoil, empty])
def test_a_key_file_that_is_none_is_told_in_one_line(
    name: str,
    harm: Callable[[Path], None],
    chain: Path,
    key: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    harm(key)
    code, told = run(name, chain, key, capsys)
    assert code == 2
    assert told.startswith("epochgate: ")
    assert told.count("\n") == 1
