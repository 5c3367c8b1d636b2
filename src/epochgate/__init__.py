"""epochgate: a record store in which every replica enforces what may be stored, by whom, when and
for how long.

The public API on one screen. Names are imported when they are first used, so `import epochgate`
stays light. The examples in docstrings assume `from epochgate import *`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from epochgate._version import __version__

if TYPE_CHECKING:  # for type checkers; __getattr__ serves the same names when the program runs
    from epochgate.core.challenge import Chosen, Derived, TensorSpec
    from epochgate.core.commitment import Opening, OpeningOf, compute_commitment
    from epochgate.core.epoch import EpochData, Timing, Window, compute_epoch_data, epochs, percent
    from epochgate.core.evaluation import EvaluationContext
    from epochgate.core.limits import Allowance, Limits, Quota, Rate
    from epochgate.core.policy import Policy
    from epochgate.core.policy_lint import PolicyError, check_policy
    from epochgate.core.record import Record, compute_key, compute_network_id
    from epochgate.core.roster import HOSTER, VALIDATOR, Member, Role, Roster
    from epochgate.core.rule import Rule
    from epochgate.core.schedule import EpochSchedule
    from epochgate.core.schema import Digest, EpochContext, Malformed
    from epochgate.core.scoring import ScoreList, Scoring
    from epochgate.core.types import BlockNumber, Epoch, Hash32, NetworkId, PeerId, RecordKey, Salt
    from epochgate.core.verdict import Admitted, Denied, Reason, Verdict
    from epochgate.errors import EpochgateError
    from epochgate.keys import SigningKey
    from epochgate.policies.inference import INFERENCE_POLICY
    from epochgate.schemas import Heartbeat, Map, Tensor

    Calendar = EpochSchedule
    Moment = EvaluationContext

_HOMES = {
    "errors": ("EpochgateError",),
    "core.schedule": ("EpochSchedule",),
    "core.challenge": ("Chosen", "Derived", "TensorSpec"),
    "core.commitment": ("Opening", "OpeningOf", "compute_commitment"),
    "core.epoch": ("EpochData", "Timing", "Window", "compute_epoch_data", "epochs", "percent"),
    "core.limits": ("Allowance", "Limits", "Quota", "Rate"),
    "core.evaluation": ("EvaluationContext",),
    "core.policy": ("Policy",),
    "core.policy_lint": ("PolicyError", "check_policy"),
    "core.record": ("Record", "compute_key", "compute_network_id"),
    "core.roster": ("HOSTER", "VALIDATOR", "Member", "Role", "Roster"),
    "core.rule": ("Rule",),
    "core.schema": ("Digest", "EpochContext", "Malformed"),
    "core.scoring": ("ScoreList", "Scoring"),
    "core.types": ("BlockNumber", "Epoch", "Hash32", "NetworkId", "PeerId", "RecordKey", "Salt"),
    "core.verdict": ("Admitted", "Denied", "Reason", "Verdict"),
    "policies.inference": ("INFERENCE_POLICY",),
    "keys": ("SigningKey",),
    "schemas": ("Heartbeat", "Map", "Tensor"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

_FORMER_NAMES = {"Calendar": "EpochSchedule", "Moment": "EvaluationContext"}
"""Names that users import since the first release, and the present name of each."""

# spelled out, since a type checker does not read a computed list
__all__ = [
    "HOSTER",
    "INFERENCE_POLICY",
    "VALIDATOR",
    "Admitted",
    "Allowance",
    "BlockNumber",
    "Calendar",
    "Chosen",
    "Denied",
    "Derived",
    "Digest",
    "Epoch",
    "EpochContext",
    "EpochData",
    "EpochSchedule",
    "EpochgateError",
    "EvaluationContext",
    "Hash32",
    "Heartbeat",
    "Limits",
    "Malformed",
    "Map",
    "Member",
    "Moment",
    "NetworkId",
    "Opening",
    "OpeningOf",
    "PeerId",
    "Policy",
    "PolicyError",
    "Quota",
    "Rate",
    "Reason",
    "Record",
    "RecordKey",
    "Role",
    "Roster",
    "Rule",
    "Salt",
    "ScoreList",
    "Scoring",
    "SigningKey",
    "Tensor",
    "TensorSpec",
    "Timing",
    "Verdict",
    "Window",
    "__version__",
    "check_policy",
    "compute_commitment",
    "compute_epoch_data",
    "compute_key",
    "compute_network_id",
    "epochs",
    "percent",
]


def __getattr__(name: str) -> Any:
    name_now = _FORMER_NAMES.get(name, name)
    home = _HOME_OF.get(name_now)
    if home is None:
        raise AttributeError(f"module 'epochgate' has no attribute {name!r}")
    value = getattr(import_module(f"epochgate.{home}"), name_now)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
