"""The command line: demo, flow-masks, refine, run, evaluate, simulate, train, published and weights."""

from __future__ import annotations

import io
import os
import sys

from .interruption import leave_at_once


def main() -> None:
    """Run the command line; exits with 0, 2 (something the user can put right) or 130 (Ctrl-C)."""
    leave_at_once()
    # A stream that was closed (``2>&-``) is None, and its number would go to the next file that is opened, say a mask.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file's name may hold what the terminal or pipe cannot take; that must not end a run whose work is done.
        sys.stdout.reconfigure(errors="backslashreplace")
    # What takes long to import comes after Ctrl-C has been seen to.
    from .app import app

    app()


__all__ = ["main"]
