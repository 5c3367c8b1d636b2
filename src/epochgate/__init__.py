"""epochgate: a record store in which every replica enforces what may be stored, by whom, when and for how long."""

__version__ = "0.1.0"
