"""Errors of the main job; they derive from the package's base, so that one `except` catches all."""

from lstm_numba.errors import LstmNumbaError


class CorpusError(LstmNumbaError, ValueError):
    """The text to learn from is not there or too small."""


class RunError(LstmNumbaError, FileNotFoundError):
    """There is no run to continue."""
