"""The Hypertensor chain over JSON-RPC: one of its subnets, behind the same port as the local chain
(docs/hypertensor.md).
"""
