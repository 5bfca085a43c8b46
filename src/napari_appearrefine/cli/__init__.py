"""The command line: demo, flow-masks, refine, run, evaluate, simulate, train, published and weights."""

from __future__ import annotations

from .app import app, main

__all__ = ["app", "main"]
