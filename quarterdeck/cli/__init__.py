"""The command line: ``quarterdeck --help``."""

from quarterdeck.cli.main import main

__all__ = ["main"]
