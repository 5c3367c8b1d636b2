"""Predicates that users bring, and every name that the listing in the upstream Hypertensor template
uses, so that it runs below one import line as it stands:

    from epochgate.predicate import *

`torch` here reads tensor files without unpickling, whatever `weights_only` says, and
`MSGPackSerializer` is hivemind's with a limit on nesting. A predicate goes into
`HypertensorPredicateValidator` or `PredicateValidator`. These work beside hivemind's record
validators on a plain hivemind DHT (`hivemind_dht`), and beside a policy on epochgate's libp2p
engine (`compose`). Needs `epochgate[node]`.
"""

import io
from collections.abc import Callable

from pydantic import ValidationError

from epochgate.core.epoch import EpochData

try:
    from hivemind.dht.routing import DHTID
    from hivemind.dht.validation import DHTRecord
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"epochgate.predicate needs {error.name}: pip install 'epochgate[node]'"
    ) from error

from epochgate.predicate.consensus_tensor import ConsensusTensorModel
from epochgate.predicate.dht_time import get_dht_time
from epochgate.predicate.hivemind_dht import mark_reads, mark_reads_of_dht
from epochgate.predicate.judge import PlainJudge, compose
from epochgate.predicate.safe_torch import torch
from epochgate.predicate.serializer import MSGPackSerializer
from epochgate.predicate.validators import (
    DHTRequestType,
    HypertensorPredicateValidator,
    PredicateValidator,
)

CONSENSUS_STORE_DEADLINE = 0.15
CONSENSUS_FALLBACK_STORE_DEADLINE = 0.10
HOSTER_COMMIT_DEADLINE = 0.5
HOSTER_REVEAL_DEADLINE = 0.6
VALIDATOR_REVEAL_START = 0.15
VALIDATOR_REVEAL_DEADLINE = 0.5
VALIDATOR_COMMIT_START = 0.6
"""Deadlines and starts, as shares of an epoch from 0 to 1."""

DEFAULT_EPOCH_SECONDS = 100 * 6.0
MAX_HEART_BEAT_TIME = 1.1 * DEFAULT_EPOCH_SECONDS
MAX_CONSENSUS_TIME = 1.1 * DEFAULT_EPOCH_SECONDS
MAX_HOSTER_COMMIT_TIME = 1 * DEFAULT_EPOCH_SECONDS
MAX_HOSTER_REVEAL_TIME = 1 * DEFAULT_EPOCH_SECONDS
MAX_VALIDATOR_COMMIT_TIME = 2 * DEFAULT_EPOCH_SECONDS
MAX_VALIDATOR_REVEAL_TIME = 2 * DEFAULT_EPOCH_SECONDS
"""Lifetimes in seconds, on a chain whose epochs have 100 blocks of 6 s. On another chain use a
policy, whose lifetimes are in epochs.
"""

__all__ = [
    "CONSENSUS_FALLBACK_STORE_DEADLINE",
    "CONSENSUS_STORE_DEADLINE",
    "DHTID",
    "HOSTER_COMMIT_DEADLINE",
    "HOSTER_REVEAL_DEADLINE",
    "MAX_CONSENSUS_TIME",
    "MAX_HEART_BEAT_TIME",
    "MAX_HOSTER_COMMIT_TIME",
    "MAX_HOSTER_REVEAL_TIME",
    "MAX_VALIDATOR_COMMIT_TIME",
    "MAX_VALIDATOR_REVEAL_TIME",
    "VALIDATOR_COMMIT_START",
    "VALIDATOR_REVEAL_DEADLINE",
    "VALIDATOR_REVEAL_START",
    "Callable",
    "ConsensusTensorModel",
    "DHTRecord",
    "DHTRequestType",
    "EpochData",
    "HypertensorPredicateValidator",
    "MSGPackSerializer",
    "PlainJudge",
    "PredicateValidator",
    "ValidationError",
    "compose",
    "get_dht_time",
    "io",
    "mark_reads",
    "mark_reads_of_dht",
    "torch",
]
