"""What the SQLite files of a node and of a local chain share."""
