"""The rules, pure: standard library, msgspec, numpy and PyNaCl. No await, clock, socket or log."""
