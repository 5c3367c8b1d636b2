"""The repairs of hivemind's books, and errors that a peer may have written."""

from __future__ import annotations

import asyncio

from epochgate.engine.daemon import (
    MAX_REASON_CHARACTERS,
    _LiveCalls,
    _Message,
    _RunningTasks,
    shorten,
)


async def test_a_call_whose_caller_gave_up_is_pending_no_more() -> None:
    calls = _LiveCalls()
    calls["call"] = asyncio.get_running_loop().create_future()
    assert "call" in calls
    calls["call"].cancel()
    assert "call" not in calls
    assert "other" not in calls


async def test_a_handlers_task_is_forgotten_however_it_ends() -> None:
    async def fail() -> None:
        raise ValueError

    tasks = _RunningTasks()
    given_up = asyncio.create_task(asyncio.sleep(3600))
    failed = asyncio.create_task(fail())
    tasks["given up"] = given_up
    tasks["failed"] = failed
    given_up.cancel()
    await asyncio.wait({given_up, failed})
    await asyncio.sleep(0)
    assert not tasks
    assert isinstance(failed.exception(), ValueError)


def test_a_message_is_its_bytes() -> None:
    assert _Message.FromString(b"bytes").SerializeToString() == b"bytes"


def test_an_error_is_one_short_line_that_runs_nothing() -> None:
    assert shorten(ValueError("one\ntwo")) == "one"
    assert shorten(TimeoutError()) == "TimeoutError"
    assert len(shorten(ValueError("x" * 1000))) == MAX_REASON_CHARACTERS
    assert "\x1b" not in shorten(ValueError("\x1b[2J gone"))
