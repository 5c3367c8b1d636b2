"""A file that cannot be used ends every command in one line and an exit code, never in a
traceback.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from epochgate.chain.local import LocalChain
from epochgate.core.roster import HOSTER
from epochgate.engine.system import SystemClock
from epochgate.keys import SigningKey
from tests.support.command_line import refuse
from tests.support.ordinary_user import as_ordinary_user, give_to_ordinary_user

COMMANDS = {
    "register": ["local-chain", "register", "CHAIN", "--identity", "KEY", "--role", "hoster"],
    "start": ["local-chain", "start", "CHAIN"],
    "show": ["local-chain", "show", "CHAIN"],
    "peers": ["peers", "--chain", "local:CHAIN", "--data", "FOLDER"],
    "node": [
        *["node", "--role", "hoster", "--chain", "local:CHAIN", "--identity", "KEY"],
        *["--data", "FOLDER/data"],
    ],
}
WRITERS = ("register", "start")
READERS = ("register", "start", "show", "peers")
"""Those that import nothing late, which another user could perhaps not read."""
PAGE_BYTES = 4096


class Place:
    """A folder with a node's key and a chain on which the node is registered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = folder / "node.key"
        self.chain = folder / "chain.sqlite"
        author = SigningKey.create(self.key).author
        LocalChain.create(self.chain, SystemClock(), block_seconds=6.0)
        chain = LocalChain(self.chain, None, SystemClock())
        chain.register(author, HOSTER)
        chain._file.close()

    def refuse(self, name: str, capsys: pytest.CaptureFixture[str], exit_code: int = 2) -> str:
        names = {"CHAIN": self.chain, "KEY": self.key, "FOLDER": self.folder}
        arguments = []
        for part in COMMANDS[name]:
            for placeholder, path in names.items():
                part = part.replace(placeholder, str(path))  # noqa: PLW2901 - one after another
            arguments.append(part)
        return refuse(capsys, *arguments, exit_code=exit_code)

    def execute(self, statement: str) -> None:
        connection = sqlite3.connect(self.chain, isolation_level=None)
        connection.execute(statement)
        connection.close()


@pytest.fixture(autouse=True)
def _an_impatient_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("epochgate.chain.local.file.LOCK_SECONDS", 0.05)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# Another process has the chain file.


@contextmanager
def hold(chain: Path, *statements: str) -> Iterator[None]:
    other = sqlite3.connect(chain, isolation_level=None)
    try:
        for statement in statements:
            other.execute(statement)
        yield
    finally:
        other.close()


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_another_writes_is_told_in_one_line(
    name: str, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    with hold(place.chain, "BEGIN IMMEDIATE"):
        line = place.refuse(name, capsys, exit_code=1)
    assert line == "the chain file cannot be written now (database is locked): try again"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_file_that_another_has_for_itself_is_told_in_one_line(
    name: str, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = ("PRAGMA locking_mode = EXCLUSIVE", "UPDATE subnet SET fixed_block = 0")
    with hold(place.chain, *alone):
        line = place.refuse(name, capsys, exit_code=1)
    assert line == f"{place.chain} is held by another process (database is locked): try again"


def test_a_node_that_would_read_its_roster_then_is_told_so_too(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.execute("UPDATE subnet SET slot = 0")
    with hold(place.chain, "BEGIN IMMEDIATE"):
        line = place.refuse("node", capsys, exit_code=1)
    assert "cannot be written now" in line


HOLDER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


def test_the_other_may_well_be_a_process(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, place.chain],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        line = place.refuse("register", capsys, exit_code=1)
        holder.communicate()
    assert "try again" in line


# The file is something else, or damaged.


def remove(path: Path) -> None:
    path.unlink()


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def spoil(path: Path) -> None:
    path.write_bytes(b"no database at all" * 1000)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def be_another_database(path: Path) -> None:
    path.unlink()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE notes (text)")
    other.close()


def cut_short(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def spoil_pages(path: Path) -> None:
    """All but the first, which has the header."""
    data = path.read_bytes()
    path.write_bytes(data[:PAGE_BYTES] + b"\xff" * (len(data) - PAGE_BYTES))


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    "harm", [remove, make_folder, spoil, empty, be_another_database, cut_short, spoil_pages]
)
def test_a_chain_file_that_is_none_is_told_in_one_line(
    name: str, harm: Callable[[Path], None], place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    harm(place.chain)
    assert str(place.chain) in place.refuse(name, capsys)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_chain_file_without_a_subnet_is_told_in_one_line(
    name: str, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.execute("DELETE FROM subnet")
    assert f"{place.chain} is damaged" in place.refuse(name, capsys)


@pytest.mark.parametrize("name", ["register", "show", "peers", "node"])
def test_a_chain_file_without_its_nodes_is_told_in_one_line(
    name: str, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.execute("DROP TABLE nodes")
    assert f"{place.chain} is damaged" in place.refuse(name, capsys)


def test_a_submission_that_is_none_is_told_in_one_line(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.execute("INSERT INTO submissions VALUES (1, x'00', 3, x'ff')")
    assert f"{place.chain} is damaged" in place.refuse("show", capsys)


@pytest.mark.parametrize("name", ["register", "node"])
@pytest.mark.parametrize("harm", [remove, make_folder, spoil, empty])
def test_a_key_file_that_is_none_is_told_in_one_line(
    name: str, harm: Callable[[Path], None], place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    harm(place.key)
    assert str(place.key) in place.refuse(name, capsys)


@pytest.mark.parametrize("harm", [make_folder, spoil, be_another_database])
def test_a_nodes_database_that_is_none_is_told_in_one_line(
    harm: Callable[[Path], None], place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    database = place.folder / "data" / "ledger.sqlite"
    database.parent.mkdir()
    database.touch(0o600)
    harm(database)
    database.chmod(0o700)
    assert str(database) in place.refuse("node", capsys)


# The system refuses it.


@pytest.fixture
def open_place() -> Iterator[Place]:
    """A place that an ordinary user can reach, which those of pytest's own are not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    place = Place(folder)
    give_to_ordinary_user(folder)
    yield place
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", WRITERS)
def test_a_chain_file_that_must_not_be_written_is_told_in_one_line(
    name: str, open_place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    open_place.chain.chmod(0o400)
    with as_ordinary_user():
        line = open_place.refuse(name, capsys)
    assert f"{open_place.chain} cannot be written" in line


@pytest.mark.parametrize("name", READERS)
def test_a_chain_file_that_must_not_be_read_is_told_in_one_line(
    name: str, open_place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    open_place.chain.chmod(0)
    with as_ordinary_user():
        line = open_place.refuse(name, capsys)
    assert f"{open_place.chain} cannot be read" in line


@pytest.mark.parametrize("name", READERS)
def test_a_folder_that_must_not_be_written_is_told_in_one_line(
    name: str, open_place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """SQLite keeps two files beside the chain's."""
    open_place.folder.chmod(0o500)
    with as_ordinary_user():
        line = open_place.refuse(name, capsys)
    assert f"{open_place.chain} cannot be read" in line


def test_a_key_that_must_not_be_written_is_told_in_one_line(
    open_place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    open_place.folder.chmod(0o500)
    with as_ordinary_user():
        line = refuse(capsys, "keygen", f"{open_place.folder}/new.key")
    assert line == f"{open_place.folder}/new.key cannot be written: Permission denied"
