"""What an operator does to a stamp from a workstation: `python -m connector.operations`; docs/operations.md.

The commands work on the tables through the same functions as the app, as the person whom `az login` signed in.
"""
