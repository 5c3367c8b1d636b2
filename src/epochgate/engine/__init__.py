"""Engines: the network over libp2p, and in memory on virtual time, behind the same ports."""
