"""The page that maps threats to tests has a row for every threat, and names tests and adversaries
that exist.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from epochgate.adversaries import ADVERSARIES

TESTS = Path(__file__).parents[1]
SOURCE = TESTS.parent / "src" / "epochgate"
REFUSING = sorted(path for wing in ("core", "store") for path in (SOURCE / wing).glob("*.py"))
"""The modules in which records of others are refused."""
PAGE = (TESTS.parent / "docs" / "security.md").read_text()
LINES = PAGE.partition("## Every threat")[2].partition("\n## ")[0].splitlines()
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in LINES
    if line.startswith("| ")
]
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)))

THREATS = """
windows that never refuse
commits before the window opens
early and late at every block edge
next and previous epoch
clocks 5 s apart
a stale chain head
a reorganised epoch boundary
started or killed at any point of an epoch
another chain's epoch length in lifetimes
pickle anywhere
NaN, infinite and complex tensors
empty tensors, wrong dtype, wrong shape
10^12 elements in 1.5 KB
deep nesting
values over size
malformed MessagePack
truncated and bit-flipped records
unsigned records
records under another's subkey
one key in many encodings
small-order keys, malleable signatures
replay in another subnet, epoch, role or key
a payload that looks like a signature
expiry NaN, infinite, past, far
a store that replaces everybody's entries
an old record replayed to delete the new one
one bad entry that hides all good ones
a far-expiring empty dictionary
a reply too large to send
a flood from a peer or an author
a flood with many keys
a sender that chooses cache to dodge rules
a replica that lies on reads or withholds
another epoch's records in a reply
newcomers without the records of closed windows
a forged repair
a peer id ground towards a known key
a late commitment, shown to some readers
a replica that hides an honest record
a forged or back-dated receipt
a signature with a tail
a receipt of a node that is not the key's replica
a store that reached too few
a submitter that leaves out or takes in what it should not
more than f bad replicas
a copied digest and its opening
bytes moved between salt and payload
a second, different commitment
opening nothing
opening late
opening with another challenge
guessing unsalted scores
a restart between commit and reveal
an identity taken over between the two
a challenge twice, late or malformed
a challenge chosen to favour somebody
a challenge computed in advance
one NaN that spoils all, a wrong shape
one huge outlier
a minority with one wrong answer
two that disagree and are both paid
scores that depend on the order of records
a list that is empty, of unknown peers, or all equal
totals that lose units
a node in both roles that loses one
honest noise that is punished
sums, norms, exp and BLAS that differ
openings held back so that a minority is most of what is left
one role's pay broken for the other's gain
blocking calls on the path of a record
a chain that is down, slow or restarted
a chain that lies about its age
no longer staked but still served
an elected validator that is absent
an elected validator with a malformed challenge
attesting without having looked
submitting twice
a second predicate silently dropped
a predicate that raises
a quota spent on records that were refused
a dead daemon that looks alive
one error that ends the heartbeat
secrets with open permissions
secrets in logs
secrets in the repository
an endpoint reachable from outside
a screen that runs what it is shown
"""
"""What a system of this kind was seen to suffer from, a line each. A new threat is written down
here first.
"""


def test_every_threat_has_its_row_and_its_test() -> None:
    rows = {threat: tests for threat, tests, *_ in ROWS if threat != "threat"}
    assert list(rows) == THREATS.strip().splitlines()
    assert [threat for threat, tests in rows.items() if "::" not in tests] == []


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_named_test_is_there(file: str, name: str) -> None:
    """Of a suite, a behaviour that is run."""
    text = (TESTS / file).read_text()
    is_there = (
        f"async def {name}(" in text and f"    {name},\n" in text
        if file.startswith("suites/")
        else f"def test_{name}(" in text
    )
    assert is_there


def test_the_page_names_every_adversary_and_no_other() -> None:
    named = {name for row in ROWS for name in row[-1].split(", ") if name != "adversary"}
    assert {name for name in named if re.fullmatch(r"[a-z-]+", name)} == set(ADVERSARIES)


STOPS = re.compile(r'Stops ("[^"]+"(?:(?:, and|,| and) "[^"]+")*)')
"""How a comment in the source names the threats that the code below it stops."""


def find_comments(module: Path) -> Iterator[tuple[int, str]]:
    """The comments of a module, those of consecutive lines as one: its first line, and its text."""
    first = last = 0
    text = ""
    for token in tokenize.generate_tokens(io.StringIO(module.read_text()).readline):
        if token.type != tokenize.COMMENT:
            continue
        line = token.start[0]
        if line != last + 1:
            yield first, text
            first = line
            text = ""
        last = line
        text = f"{text} {token.string.lstrip('# ')}"
    yield first, text


def find_named_threats() -> Iterator[tuple[str, str]]:
    for module in sorted(SOURCE.rglob("*.py")):
        for line, text in find_comments(module):
            for names in STOPS.findall(text):
                for threat in re.findall('"([^"]+)"', names):
                    yield f"{module.relative_to(SOURCE)}:{line}", threat


def test_a_threat_that_the_code_names_has_its_row() -> None:
    known = THREATS.strip().splitlines()
    named = list(find_named_threats())
    assert len(named) > 30
    assert [(place, threat) for place, threat in named if threat not in known] == []


def find_refusals(module: Path) -> Iterator[tuple[str, int, int]]:
    """Where records and payloads of others are refused: the function, its first line, and the line
    of the refusal. What `encode` refuses is the node's own, and a `deny_` is called by the check.
    """
    tree = ast.parse(module.read_text())
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if function.name == "encode" or function.name.startswith("deny_"):
            continue
        for call in ast.walk(function):
            if isinstance(call, ast.Call) and ast.unparse(call.func) in ("Denied", "Malformed"):
                yield function.name, function.lineno, call.lineno


@pytest.mark.parametrize("module", REFUSING, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_refusal_stands_under_its_threat(module: Path) -> None:
    stops = [line for line, text in find_comments(module) if STOPS.search(text)]
    bare = [
        f"{name}, line {line}"
        for name, first, line in find_refusals(module)
        if not any(first < stop < line for stop in stops)
    ]
    assert bare == []
