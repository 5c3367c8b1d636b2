"""A node's decisions in files, with all that is needed to decide them again offline."""
