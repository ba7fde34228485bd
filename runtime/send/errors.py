"""Errors of the sender, below the runtime's own.

LocalError
  SpoolError (RuntimeError)         the spool cannot be read or written                              exit code 1
    SpoolInUseError                   another process has it open                                    exit code 2
    SpoolMismatchError                it is another codec's or another device's                      exit code 2
    SpoolDamagedError                 the file is not a spool, or a damaged one
    SpoolFullError                    no room for a packet: the spool's bound, or the disk
  UndeliveredError (RuntimeError)   packets still wait in the spool when the command ends            exit code 1
  RefusedError (RuntimeError)       the server refused packets for good                              exit code 1
"""

from __future__ import annotations

from latentwire.runtime.errors import LocalError


class SpoolError(LocalError, RuntimeError):
    """The spool cannot be read or written."""


class SpoolInUseError(SpoolError):
    """Another process, or another sender of this one, has the spool open."""

    exit_code = 2


class SpoolMismatchError(SpoolError):
    """The spool holds packets of another codec or another device."""

    exit_code = 2


class SpoolDamagedError(SpoolError):
    """The file is not a spool, or bytes of it have changed."""


class SpoolFullError(SpoolError):
    """No room for a packet: the spool has reached its bound, or the disk is full."""


class UndeliveredError(LocalError, RuntimeError):
    """Packets still wait in the spool when the command ends; they are sent at its next start."""


class RefusedError(LocalError, RuntimeError):
    """The server refused packets for good; they are kept in the spool."""
