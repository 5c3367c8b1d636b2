"""The real chain over JSON-RPC: one Hypertensor subnet, behind the same port as the local chain
(docs/hypertensor.md).
"""
