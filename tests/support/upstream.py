"""The predicate of the upstream Hypertensor template, with a type that fits what it does."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from tests.fixtures.upstream_listing import hypertensor_consensus_predicate


def make_upstream_predicate() -> Callable[..., bool]:
    """Its listing says that it takes a record alone; it takes record, type and epoch data."""
    return cast(Callable[..., bool], hypertensor_consensus_predicate())
