from __future__ import annotations

import sys
from pathlib import Path

import pytest

from epochgate.devnet import processes
from epochgate.devnet.processes import NodeProcesses
from epochgate.observe.events import Line, NodeStopped, encode_line
from epochgate.runtime.settings import get_variable
from tests.support.devnet_events import ALICE, tell

SAY_STOPPED = f"print({encode_line(tell(ALICE, NodeStopped())).decode().strip()!r}, flush=True)"
WAIT = "import time; time.sleep(60)"


class Listener:
    """Hears what a devnet hears, and waits for it without looking at a clock."""

    def __init__(self, folder: Path) -> None:
        self.lines: list[tuple[str, Line]] = []
        self.deaths: dict[str, str] = {}
        self.nodes = NodeProcesses(
            folder, lambda name, line: self.lines.append((name, line)), self.deaths.__setitem__
        )

    async def run(self, program: str) -> None:
        """Until a node called alice, which runs `program`, has ended by itself."""
        async with self.nodes:
            await self.nodes.start({"alice": [sys.executable, "-c", program]})
            await self.nodes._listeners[0]


async def test_event_lines_are_passed_on_and_other_lines_go_to_the_log(tmp_path: Path) -> None:
    listener = Listener(tmp_path)
    await listener.run(
        f"import sys; print('hello'); {SAY_STOPPED}; print('oh no', file=sys.stderr)"
    )
    assert listener.lines == [("alice", tell(ALICE, NodeStopped()))]
    assert sorted((tmp_path / "alice.log").read_text().split("\n")) == ["", "hello", "oh no"]


async def test_settings_in_the_users_environment_are_kept_from_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are for a node of the user's own; a devnet's are told all by their options."""
    monkeypatch.setenv(get_variable("initial_peers"), "/ip4/203.0.113.5/tcp/31330")
    monkeypatch.setenv("CITY", "Ulm")
    listener = Listener(tmp_path)
    await listener.run(
        "import os; print([name for name in os.environ if name == 'CITY' or"
        " name.startswith('EPOCHGATE')])"
    )
    assert (tmp_path / "alice.log").read_text() == "['CITY']\n"


async def test_a_death_is_told_with_the_last_words(tmp_path: Path) -> None:
    listener = Listener(tmp_path)
    await listener.run("import sys; print('disk full', file=sys.stderr); sys.exit(3)")
    assert listener.deaths == {"alice": "exit code 3; disk full"}


async def test_a_death_by_a_signal_is_told_by_its_name(tmp_path: Path) -> None:
    listener = Listener(tmp_path)
    await listener.run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert listener.deaths == {"alice": "killed by SIGKILL"}


async def test_a_line_that_is_too_long_is_dropped_and_the_next_one_heard(tmp_path: Path) -> None:
    listener = Listener(tmp_path)
    await listener.run(f"print('x' * {processes.MAX_LINE_BYTES + 10}); {SAY_STOPPED}")
    assert [line.fact for _, line in listener.lines] == [NodeStopped()]


async def test_leaving_ends_every_process_and_is_no_death(tmp_path: Path) -> None:
    listener = Listener(tmp_path)
    async with listener.nodes:
        await listener.nodes.start(
            {name: [sys.executable, "-c", WAIT] for name in ("alice", "bob")}
        )
        assert listener.nodes.running_count == 2
    assert listener.nodes.running_count == 0
    assert listener.deaths == {}


async def test_an_exception_inside_ends_them_too(tmp_path: Path) -> None:
    listener = Listener(tmp_path)

    async def fail() -> None:
        async with listener.nodes:
            await listener.nodes.start({"alice": [sys.executable, "-c", WAIT]})
            raise LookupError("something else went wrong")

    with pytest.raises(LookupError):
        await fail()
    assert listener.nodes.running_count == 0


async def test_one_that_does_not_leave_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.2)
    listener = Listener(tmp_path)
    stubborn = (
        f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SAY_STOPPED}; {WAIT}"
    )
    async with listener.nodes:
        await listener.nodes.start({"alice": [sys.executable, "-c", stubborn]})
    assert listener.nodes.running_count == 0
