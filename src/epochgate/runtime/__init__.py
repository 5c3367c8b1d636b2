"""From settings to a running node: what they name is loaded, the chain is opened, the parts are put
together. A program imports the names that it needs from the modules (docs/library.md).
"""
