"""The one error that a user is meant to read."""

from __future__ import annotations


class UserError(ValueError):
    """Something the user gave cannot be used.

    The message is one plain sentence that names the file, folder or layer, says what is wrong
    with it and what to do. The command line prints it and exits with code 2, napari shows it as
    a notification; neither shows a traceback. It derives from ``ValueError`` and never from
    ``RuntimeError``, which napari's generator workers swallow.
    """
