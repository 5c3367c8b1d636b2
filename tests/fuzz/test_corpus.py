"""Every decoder on its corpus, and on what hypothesis makes of it. `make fuzz` goes on from there,
led by coverage.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
FILES = sorted(path for path in CORPUS.rglob("*") if path.is_file())
MAX_CORPUS_BYTES = 200_000


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(CORPUS).as_posix())
def test_a_corpus_file_is_decoded_or_refused(path: Path) -> None:
    TARGETS[path.relative_to(CORPUS).parts[0]](path.read_bytes())


def test_every_target_has_a_corpus_and_all_of_it_is_small() -> None:
    assert {path.relative_to(CORPUS).parts[0] for path in FILES} == TARGETS.keys()
    assert sum(path.stat().st_size for path in FILES) < MAX_CORPUS_BYTES


@st.composite
def make_mutants(draw: st.DrawFn, files: list[bytes]) -> bytes:
    """A corpus file with a few bytes set, cut, doubled or put in, or plain bytes."""
    content = bytearray(draw(st.sampled_from(files) | st.binary(max_size=200)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(content)))
        width = draw(st.integers(0, 8))
        fresh = draw(
            st.binary(max_size=8)
            | st.sampled_from([b"\xff" * 8, b"\x00" * 8, b"\xc1", b"\xcb\x7f\xf8" + bytes(6)])
        )
        content[place : place + width] = fresh
    return bytes(content)


@pytest.mark.parametrize("name", TARGETS)
def test_a_mutant_is_decoded_or_refused(name: str) -> None:
    files = [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]

    @settings(deadline=None, max_examples=150)
    @given(make_mutants(files))
    def check(data: bytes) -> None:
        TARGETS[name](data)

    check()
