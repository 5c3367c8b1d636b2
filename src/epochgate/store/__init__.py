"""The record store, in two halves that never import each other.

The client's half (`client`, `posting`, `reader`, `quorum_listing`, `value_fetcher`,
`receipt_verifier`, `peers`, `repair`) asks replicas and believes what receipts prove. The replica's
half (`replica`, `rate_limit`, `database`, `database_file`) judges what arrives, stores it and
answers. Both know `wire`, the messages between them, and `chain_clock`, the time of a judgement. A
node puts the two together: its client asks its own replica through a `Handler`, as it asks others
over the network.
"""
