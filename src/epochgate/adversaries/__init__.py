"""Adversaries by name: each an honest node with some parts replaced, so that they run wherever
nodes do.
"""

from __future__ import annotations

from epochgate.adversaries.adversary import Adversary
from epochgate.adversaries.hosters import HOSTERS
from epochgate.adversaries.replicas import REPLICAS
from epochgate.adversaries.senders import SENDERS
from epochgate.adversaries.validators import VALIDATORS

ADVERSARIES: dict[str, Adversary] = {
    it.name: it for it in (*HOSTERS, *SENDERS, *REPLICAS, *VALIDATORS)
}

__all__ = ["ADVERSARIES", "Adversary"]
