"""What a peer's handler says, and what is said for it when it fails."""

from __future__ import annotations

import logging

import pytest

from epochgate.engine.answer import REFUSED, check_size, get_answer
from tests.support.identities import alice


async def echo(_sender: bytes, message: bytes) -> bytes:
    return message


async def test_a_reply_within_the_limit_goes_out_as_it_is() -> None:
    assert await get_answer(echo, alice.author, b"1234", max_message_bytes=4) == b"1234"


async def test_too_long_a_request_does_not_reach_the_handler() -> None:
    async def must_not_run(_sender: bytes, _message: bytes) -> bytes:
        raise AssertionError

    assert await get_answer(must_not_run, alice.author, b"12345", max_message_bytes=4) == REFUSED


async def test_a_broken_handler_is_logged_and_refuses(caplog: pytest.LogCaptureFixture) -> None:
    async def stumble(_sender: bytes, _message: bytes) -> bytes:
        raise LookupError("a shoelace")

    with caplog.at_level(logging.ERROR):
        assert await get_answer(stumble, alice.author, b"", max_message_bytes=4) == REFUSED
    assert "a shoelace" in caplog.text


async def test_too_long_a_reply_is_logged_and_refuses(caplog: pytest.LogCaptureFixture) -> None:
    async def ramble(_sender: bytes, _message: bytes) -> bytes:
        return b"12345"

    assert await get_answer(ramble, alice.author, b"", max_message_bytes=4) == REFUSED
    assert "5 bytes, 4 are allowed" in caplog.text


def test_a_caller_is_told_to_cut_its_request() -> None:
    check_size(b"1234", 4)
    with pytest.raises(ValueError, match="at most 4 bytes, this one has 5: chunk it"):
        check_size(b"12345", 4)
