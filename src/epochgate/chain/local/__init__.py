"""The embedded chain: one subnet in one SQLite file that several processes use at once.

Blocks follow from genesis and period, so nobody has to produce them, and each action of a node is a
row. Everybody who has the file can compute all seeds beforehand, so it is a chain for development
and tests among the nodes of one owner (docs/adr/0002).
"""

from epochgate.chain.local.chain import LocalChain
from epochgate.chain.local.file import ChainFileError

__all__ = ["ChainFileError", "LocalChain"]
