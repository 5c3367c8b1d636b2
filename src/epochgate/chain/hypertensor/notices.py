"""Warnings to the operator: what keeps the subnet or this node from taking part, and outages."""

from __future__ import annotations

from epochgate.chain.hypertensor.nodes import SCORED_CLASS, ChainNode
from epochgate.chain.hypertensor.subnet import SubnetFacts
from epochgate.observe.events import Emit, NodeWarning


class Notices:
    """Emits each warning once, until another one was due in between."""

    def __init__(self, emit: Emit | None) -> None:
        self._emit = emit
        self._last = ""

    def tell_state(self, facts: SubnetFacts, node: ChainNode | None) -> None:
        """Warn of what the subnet or the node waits for.

        Args:
            facts: The subnet, as the chain has it now.
            node: This node, as the chain has it now; None where it is not registered.
        """
        warning = find_obstacle(facts, node)
        if warning is None:
            self._last = ""
        else:
            self._tell_once(warning)

    def tell_gone(self, reason: str) -> None:
        """Warn that the chain has the subnet no longer."""
        self._tell_once(NodeWarning("chain", "the subnet is gone", reason))

    def tell_outage(self, reason: str) -> None:
        """Warn that no heads come; called once for each outage, so it is never left out."""
        self._tell(
            NodeWarning(
                "chain",
                reason,
                "records are refused as chain-stale until it is back, and it is tried again by"
                " itself",
            )
        )

    def tell_failure(self, name: str, error: Exception, is_begun_again: bool) -> None:
        """Warn that a background task ended with an error that nobody expected."""
        advice = ""
        if is_begun_again:
            advice = "it is begun again; if it lasts, report it with this line"
        what = f"{name} ended with {type(error).__name__}: {error}"
        self._tell_once(NodeWarning("chain", what, advice))

    def _tell_once(self, warning: NodeWarning) -> None:
        if warning.what != self._last:
            self._tell(warning)

    def _tell(self, warning: NodeWarning) -> None:
        if self._emit is not None:
            self._last = warning.what
            self._emit(warning)


def find_obstacle(facts: SubnetFacts, node: ChainNode | None) -> NodeWarning | None:
    """What keeps the subnet, or this node, from taking part; None where nothing does."""
    if not facts.is_active:
        return NodeWarning(
            "chain",
            "the subnet is not active yet",
            "its owner activates it with `epochgate chain activate`",
        )
    if facts.is_paused:
        return NodeWarning("chain", "the subnet is paused", "its owner decides when it goes on")
    if node is not None and node.node_class < SCORED_CLASS:
        return NodeWarning(
            "chain",
            "this node is registered, but not in the consensus yet: its class is"
            f" {node.class_name}",
            "keep it running, the chain raises its class from epoch to epoch",
        )
    return None
