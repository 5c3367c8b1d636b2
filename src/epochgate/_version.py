"""The version of the package, in one place: pyproject.toml, heartbeats and transcripts read it
here.
"""

__version__ = "0.1.0"
