"""The chain file, and several processes that use it at once."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from epochgate.chain.local import ChainFileError, LocalChain
from epochgate.core.roster import HOSTER, VALIDATOR
from epochgate.core.types import BlockNumber, Epoch
from epochgate.ports import ChainRefused
from tests.support.identities import alice, key_of, victor
from tests.support.local_chain import StoppedClock, create


def test_only_the_owner_can_read_the_file(path: Path, chain: LocalChain) -> None:
    chain.register(alice.author, HOSTER)

    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def test_a_chain_is_never_overwritten(path: Path, chain: LocalChain, clock: StoppedClock) -> None:
    with pytest.raises(ChainFileError, match="exists already: a chain is never overwritten"):
        create(path, clock)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, clock: StoppedClock) -> None:
    with pytest.raises(ChainFileError, match="cannot be written: No such file"):
        create(tmp_path / "nowhere" / "chain.sqlite", clock)


def test_what_is_no_chain_is_refused_in_words(path: Path, clock: StoppedClock) -> None:
    with pytest.raises(ChainFileError, match="does not exist"):
        LocalChain(path, None, clock)
    path.write_bytes(b"shopping list " * 1000)
    with pytest.raises(ChainFileError, match="not a local chain"):
        LocalChain(path, None, clock)
    path.unlink()
    sqlite3.connect(path).execute("CREATE TABLE recipes (name TEXT)").connection.close()
    with pytest.raises(ChainFileError, match="not a local chain"):
        LocalChain(path, None, clock)


@pytest.mark.parametrize("harm", ["DROP TABLE subnet", "DELETE FROM subnet"])
def test_a_chain_whose_content_is_gone_is_refused_in_words(
    path: Path, chain: LocalChain, clock: StoppedClock, harm: str
) -> None:
    damaging = sqlite3.connect(path, isolation_level=None)
    damaging.execute(harm)
    damaging.close()
    with pytest.raises(ChainFileError, match=r"is damaged .*: make another chain"):
        LocalChain(path, None, clock)


async def test_a_file_that_another_holds_is_named_and_can_be_tried_again(
    path: Path, chain: LocalChain, clock: StoppedClock
) -> None:
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    chain._file._database.execute("PRAGMA busy_timeout = 1")
    with pytest.raises(ChainRefused, match=r"cannot be written now .*locked.*: try again"):
        chain.register(alice.author, HOSTER)

    holder.execute("ROLLBACK")
    holder.close()
    chain.register(alice.author, HOSTER)
    chain.start(BlockNumber(1))
    clock.reach(BlockNumber(1))
    assert (await chain.get_roster(Epoch(0))).authors == (alice.author,)


RIVAL = """
import asyncio, pathlib, sys, time
from epochgate.chain.local import LocalChain
from epochgate.ports import ChainRefused, Submission

class Clock:
    def get_unix_seconds(self):
        return float(sys.argv[2])

async def main():
    author, *others = [bytes.fromhex(text) for text in sys.argv[3:]]
    chain = LocalChain(pathlib.Path(sys.argv[1]), author, Clock())
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        await chain.submit(Submission(0, {author: 1}, (), bytes(32)))
        print("submitted", flush=True)
    except ChainRefused as refused:
        print(refused, flush=True)
    sys.stdin.readline()
    for other in others:
        try:
            await chain.share(other).attest(0)
            print("attested", flush=True)
        except ChainRefused as refused:
            print(refused, flush=True)

asyncio.run(main())
"""


async def test_of_several_processes_one_submits_and_each_attestation_counts_once(
    path: Path, chain: LocalChain, clock: StoppedClock
) -> None:
    crowd = [key_of(f"hoster {number}").author for number in range(40)]
    for author in crowd:
        chain.register(author, HOSTER)
    chain.register(victor.author, VALIDATOR)
    chain.start(BlockNumber(1))
    clock.reach(BlockNumber(1))
    arguments = [
        str(path),
        str(clock.unix_seconds),
        *(author.hex() for author in (victor.author, *crowd)),
    ]
    rivals = [start_rival(arguments) for _ in range(3)]

    assert [hear(rival) for rival in rivals] == ["ready"] * 3
    outcomes = ask(rivals)
    assert sorted(outcomes, key=len)[0] == "submitted"
    assert sum("has a submission already" in outcome for outcome in outcomes) == 2
    attested = ask(rivals, lines=len(crowd))
    for rival in rivals:
        rival.communicate()

    assert attested.count("attested") == len(crowd)
    assert sum("attested in epoch 0 already" in line for line in attested) == 2 * len(crowd)
    (found,) = await chain.get_submissions()
    assert found.attested_by == tuple(sorted(crowd))
    assert found.is_attested


def start_rival(arguments: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RIVAL, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def hear(rival: subprocess.Popen[str]) -> str:
    assert rival.stdout is not None
    return rival.stdout.readline().rstrip()


def ask(rivals: list[subprocess.Popen[str]], lines: int = 1) -> list[str]:
    """Let all go on at once, and hear what each has to say."""
    for rival in rivals:
        assert rival.stdin is not None
        rival.stdin.write("go\n")
        rival.stdin.flush()
    return [hear(rival) for rival in rivals for _ in range(lines)]
