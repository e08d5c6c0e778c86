"""Errors in what a user gave, as opposed to faults of the program."""

from __future__ import annotations

__all__ = ["InputError"]


class InputError(ValueError):
    """Something that the user gave is wrong: a file, a key, a value. The message says what, where and what to do.

    The command line prints the message alone, without a traceback.
    """
