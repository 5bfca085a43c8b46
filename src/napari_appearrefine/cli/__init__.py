"""The command line: demo, flow-masks, refine, run, evaluate, simulate, train, published and weights."""

from __future__ import annotations

import io
import sys

from .interruption import leave_at_once


def main() -> None:
    """Run the command line; exits with 0, 2 (something the user can put right) or 130 (Ctrl-C)."""
    leave_at_once()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file's name may hold what the terminal or pipe cannot take; that must not end a run whose work is done.
        sys.stdout.reconfigure(errors="backslashreplace")
    # What takes long to import comes after Ctrl-C has been seen to.
    from .app import app

    app()


__all__ = ["main"]
