"""Chains: the embedded one in a file, and Hypertensor. Both implement `epochgate.ports.Chain`."""
