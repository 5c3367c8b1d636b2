"""What can be observed of a node: the facts that it emits, and the port of its recorder."""
