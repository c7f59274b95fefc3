"""The command line: ``quarterdeck --help``."""

import sys

__all__ = ["main"]

try:
    from quarterdeck.cli.main import main
except ModuleNotFoundError as error:
    if error.name is None or error.name.startswith("quarterdeck"):
        raise
    _MISSING = error.name

    def main() -> None:
        """Say what to install: the library alone has no command line."""
        sys.exit(f"error: the command line needs {_MISSING}: pip install 'quarterdeck[server]'")
