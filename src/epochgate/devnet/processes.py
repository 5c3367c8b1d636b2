"""The node processes of a devnet: started, listened to, and ended whatever happens."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from epochgate.observe.events import Line, decode_line

MAX_LINE_BYTES = 1 << 20
LAST_WORDS_LINES = 5
SETTINGS_PREFIX = "EPOCHGATE_"
"""Variables of this kind are a node's settings."""
STOP_SECONDS = 10.0
"""How long a node may take to say OFFLINE and leave before it is killed."""

OnLine = Callable[[str, Line], None]
"""(node's name, event line)."""
OnDeath = Callable[[str, str], None]
"""(node's name, why): a process that ended without being asked to."""


def make_environment(own: Mapping[str, str]) -> dict[str, str]:
    """A node's, from this process's own: without settings for some other node, since its options
    say all that it is.

    And one thread a process: nodes share few cores, and a pool for each would only make them wait
    for each other.
    """
    kept = {name: value for name, value in own.items() if not name.startswith(SETTINGS_PREFIX)}
    return kept | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


class NodeProcess:
    """One `epochgate node`. Its standard output is event lines; its standard error goes to a log
    file.
    """

    def __init__(self, name: str, process: Process, log: Path) -> None:
        self.name = name
        self.process = process
        self._log = log
        self._last_words: deque[str] = deque(maxlen=LAST_WORDS_LINES)

    @staticmethod
    async def start(name: str, command: Sequence[str], folder: Path) -> NodeProcess:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            env=make_environment(os.environ),
            limit=MAX_LINE_BYTES,
            # Ctrl-C reaches the devnet alone, which then ends its nodes in order
            start_new_session=True,
        )
        return NodeProcess(name, process, folder / f"{name}.log")

    async def listen(self, on_line: OnLine) -> str:
        """Pass on its lines until it ends. Returns why it ended."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._read_facts(on_line))
            both.create_task(self._read_errors())
        code = await self.process.wait()
        if code < 0:
            how = f"killed by {signal.Signals(-code).name}"
        else:
            how = f"exit code {code}"
        return "; ".join([how, *self._last_words])

    async def end(self) -> None:
        """Ask it to leave, and kill it when it takes too long."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.terminate()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self.process.wait()
            except TimeoutError:
                self.kill()

    def kill(self) -> None:
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.kill()

    async def _read_facts(self, on_line: OnLine) -> None:
        async for data in _read_lines(self.process.stdout):
            try:
                on_line(self.name, decode_line(data))
            except msgspec.DecodeError:
                self._write_log(data)

    async def _read_errors(self) -> None:
        async for data in _read_lines(self.process.stderr):
            self._write_log(data)

    def _write_log(self, data: bytes) -> None:
        words = data.decode(errors="replace").strip()
        if words:
            self._last_words.append(words)
            with self._log.open("a") as log:
                log.write(words + "\n")


async def _read_lines(stream: asyncio.StreamReader | None) -> AsyncIterator[bytes]:
    while stream is not None:
        try:
            data = await stream.readline()
        except ValueError:  # longer than MAX_LINE_BYTES: dropped, and the next one is read
            continue
        if not data:
            return
        yield data


class NodeProcesses:
    """All of them. Used as `async with`: leaving ends every one, whatever happened inside."""

    def __init__(self, folder: Path, on_line: OnLine, on_death: OnDeath) -> None:
        self._folder = folder
        self._on_line = on_line
        self._on_death = on_death
        self._nodes: list[NodeProcess] = []
        self._commands: dict[str, Sequence[str]] = {}
        self._taken: set[NodeProcess] = set()
        self._listeners: list[asyncio.Task[None]] = []
        self._is_ending = False

    async def __aenter__(self) -> NodeProcesses:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_ending = True
        try:
            await asyncio.gather(*(node.end() for node in self._nodes))
            await asyncio.gather(*self._listeners)
        finally:
            for node in self._nodes:  # when even the ending was cut short
                node.kill()

    async def start(self, commands: Mapping[str, Sequence[str]]) -> None:
        """Start a process for each command line, by name."""
        for name, command in commands.items():
            self._commands[name] = command
            node = await NodeProcess.start(name, command, self._folder)
            self._nodes.append(node)
            self._listeners.append(asyncio.create_task(self._listen(node)))

    async def take_away(self, name: str) -> None:
        """Kill a node as a power cut would, on purpose: that is no death to be told of."""
        for node in self._nodes:
            if node.name == name:
                self._taken.add(node)
                node.kill()
                await node.process.wait()

    def get_command(self, name: str) -> Sequence[str]:
        """The command line with which `name` was started last."""
        return self._commands[name]

    @property
    def running_count(self) -> int:
        return sum(node.process.returncode is None for node in self._nodes)

    async def _listen(self, node: NodeProcess) -> None:
        why = await node.listen(self._on_line)
        if not self._is_ending and node not in self._taken:
            self._on_death(node.name, why)
