"""The command line: the composition root. It reads what is asked, puts the rooms below
together, and says what came of it; what happens to an execution is decided there, not here.
"""

from __future__ import annotations


def main() -> None:
    """Entry point of the ``omium`` program. Ends the process with a stable exit code."""
    from omium.cli.app import app

    app(prog_name="omium")
