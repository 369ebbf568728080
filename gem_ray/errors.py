"""The errors a user sees. Each names the cause, the value and the remedy.

All of them take one message, so that they survive the pickling between Ray processes: an exception with
another constructor and no ``__reduce__`` reaches the driver as an unrelated ``TypeError``.
"""

from __future__ import annotations


class GemRayError(Exception):
    """Base of every error raised on purpose by gem_ray."""


class ConfigError(GemRayError):
    """A setting, or a combination of settings, that cannot work."""


class DataError(GemRayError):
    """Input data that is missing, empty, corrupt, or of another schema."""


class StorageError(GemRayError):
    """A storage location that cannot be reached, read or written."""


class GraphError(GemRayError):
    """A DisGraph, journal or snapshot that breaks its own rules."""


class NotKeptError(GraphError):
    """A version of the graph that never was, or is not kept any more."""


class ScorerError(GemRayError):
    """The MLLM cannot be loaded, or did not answer in time."""


class ScorerBusyError(ScorerError):
    """The MLLM has as much to do as it takes; ask again a little later."""


class TrainingError(GemRayError):
    """Training cannot go on: a loss that is not finite, a checkpoint that cannot be written."""


class ClusterError(GemRayError):
    """A cluster that cannot be reached, does not let us in, or is too small for what is asked of it."""
