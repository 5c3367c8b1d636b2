"""Background tasks that are owned: bounded, supervised, and ended together."""
