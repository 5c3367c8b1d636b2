"""Ratios measured within one run, since the machines are noisy. `make bench` prints them all."""
