"""Every error of Latentwire, as one tree; each also subclasses the builtin that it is a kind of.

    LatentwireError
      LocalError                          this side is to blame: the caller, its files, its machine
        InputError (ValueError)             items that the contract does not allow                         exit code 3
          InputTypeError (TypeError)          dtype
          InputShapeError                     shape, or no item at all
          InputRangeError                     a value outside the range, or not a number
          InputLimitError                     more items (pixels, samples) than one packet may hold
          InputFileError                      a file of items that cannot be read
            InputChoiceError                    a picture that can be read once an option says how         exit code 3
        SettingError (ValueError)           quality, budget, profile or limit out of its range             exit code 2
        BudgetError (ValueError)            not even quality 0 fits into max_bytes                         exit code 3
        FolderError                         some of a folder's files failed, the others are done           exit code 3
        BundleError                         the codec's own files
          BundleNotFoundError (FileNotFoundError)  no bundle, ONNX file or ready codec of that name        exit code 2
          ManifestError (ValueError)          manifest.json or ONNX metadata is not what the schema says
          TamperedError (ValueError)          a file's bytes do not have the recorded SHA-256
          ModelError (ValueError)             a model asks for what no codec needs, or does not do what it promises
          TrustError (ValueError)             not the bundle that was pinned, or not signed by whom it should be
          VariantError (LookupError)          the bundle has no such role and variant                      exit code 2
          HubError (RuntimeError)             a hub that does not answer, or refuses
        KeyFileError (ValueError)           the file of keys that packets are sealed with                  exit code 2
        ProviderError (RuntimeError)        the execution provider is not there, or refused the model      exit code 7
        ResourceError (RuntimeError)        this machine is short of memory or disk; the item is fine     exit code 8
        ForkError (RuntimeError)            a model loaded before a fork is used after it                  exit code 1
        SelftestError (RuntimeError)        a bundle does not reproduce its golden packets here            exit code 6
        MissingExtraError (ImportError)     a command or a file type needs a library that is an extra      exit code 2
      RemoteError                         the bytes of the peer are to blame
        CorruptPacketError (ValueError)     not a whole, intact packet                                     exit code 4
          TruncatedError (EOFError)           bytes are missing
          MagicError                          not a packet at all
          LayoutError                         the layout byte or the length contradicts the rest
          TrailingError                       bytes follow the packet
          ChecksumError                       bytes have changed
          LimitError                          claims more than the decoder allows
          LanesError                          entropy decoding did not end where encoding began
          BodyError                           words or escapes are not used exactly
        SealError (ValueError)              a sealed body that does not open for its envelope              exit code 4
        EnvelopeError (ValueError)          what travels beside a packet is not what it should be          exit code 4
        IncompatibleError (ValueError)      an intact packet of something else                             exit code 5
          VersionError                        of another packet version
          CodecError                          of another codec

`export` and `train` hang errors of their own below `LocalError` and `LatentwireError`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager


class LatentwireError(Exception):
    """Root of all errors that Latentwire raises on purpose.

    Attributes:
        exit_code: what the command line returns.
        file: the one file that it is about: a path, or "stdin"; None where it is about none.
        place: where in that file, numbers by what they count: ``{"offset": 12}`` in bytes,
            ``{"item": 100, "index": [7]}``; None where it is not known.
    """

    exit_code = 1
    file: str | None = None
    place: Mapping[str, int | Sequence[int]] | None = None


@contextmanager
def about(file: object) -> Iterator[None]:
    """Errors of this tree that leave the block are about that file, unless they say another one.

    Args:
        file: a path, or a name that stands for it.
    """
    try:
        yield
    except LatentwireError as error:
        if error.file is None:
            error.file = str(file)
        raise


def error_facts(error: BaseException) -> dict[str, object]:
    """An error for programs: its class, exit code, message, file and place; the last two are None where not known."""
    return {
        "class": type(error).__name__,
        "exit_code": getattr(error, "exit_code", 1),
        "message": str(error),
        "file": getattr(error, "file", None),
        "place": getattr(error, "place", None),
    }


class LocalError(LatentwireError):
    """This side is to blame: what the caller passed, its files or its machine."""


class RemoteError(LatentwireError):
    """The peer's bytes are to blame; the caller can drop them and go on."""


class InputError(LocalError, ValueError):
    """Items that the codec's contract does not allow."""

    exit_code = 3


class InputTypeError(InputError, TypeError):
    """Items of another dtype than the contract's."""


class InputShapeError(InputError):
    """Items of another shape than the contract's, or no items."""


class InputRangeError(InputError):
    """A value outside the contract's range, or not a number."""


class InputLimitError(InputError):
    """More items, pixels or samples than one packet may hold."""


class InputFileError(InputError):
    """A file of items that cannot be read."""


class InputChoiceError(InputFileError):
    """A picture that can be read once an option says how: what shows through it, or that 8 bits are enough."""


class SettingError(LocalError, ValueError):
    """A quality, budget, profile or limit outside its range."""

    exit_code = 2


class BudgetError(LocalError, ValueError):
    """Not even quality 0 fits into the bytes that were allowed."""

    exit_code = 3


class FolderError(LocalError):
    """Some of a folder's files failed; the others are done. Its exit code is theirs, where they have one alike."""

    exit_code = 3


class BundleError(LocalError):
    """The codec's own files are missing or not what they should be."""


class BundleNotFoundError(BundleError, FileNotFoundError):
    """No bundle, ONNX file or ready codec of that name."""

    exit_code = 2


class ManifestError(BundleError, ValueError):
    """A manifest or a model's metadata that does not follow the schema."""


class TamperedError(BundleError, ValueError):
    """Bytes that do not have the SHA-256 or the size that the manifest records."""


class ModelError(BundleError, ValueError):
    """A model that asks for what no codec needs (other files, endless loops), or that does not do what it promises."""


class TrustError(BundleError, ValueError):
    """A bundle that is not the one that was pinned, or that is not signed with the key that was asked for."""


class VariantError(BundleError, LookupError):
    """A role or variant that the bundle does not hold."""

    exit_code = 2


class HubError(BundleError, RuntimeError):
    """A hub of models that does not answer or refuses, and a codec on it that is not in the cache."""


class KeyFileError(LocalError, ValueError):
    """A file of keys that cannot be read, or lacks the key that is asked for."""

    exit_code = 2


class ProviderError(LocalError, RuntimeError):
    """An execution provider that is not there, or that cannot run the model."""

    exit_code = 7


class ResourceError(LocalError, RuntimeError):
    """This machine is short of memory or disk: try again when it has some, the packet or item is not to blame."""

    exit_code = 8


class ForkError(LocalError, RuntimeError):
    """An encoder or decoder that was made before a fork, used in the child: its threads did not come along."""


class SelftestError(LocalError, RuntimeError):
    """A bundle that does not reproduce its golden packets on this machine."""

    exit_code = 6


class MissingExtraError(LocalError, ImportError):
    """A library that comes with one of the package's extras is not installed."""

    exit_code = 2


class CorruptPacketError(RemoteError, ValueError):
    """Bytes that are not a whole, intact packet."""

    exit_code = 4


class TruncatedError(CorruptPacketError, EOFError):
    """Bytes are missing at the end."""


class MagicError(CorruptPacketError):
    """The bytes are not a packet at all."""


class LayoutError(CorruptPacketError):
    """The layout byte or the length contradicts the rest of the header."""


class TrailingError(CorruptPacketError):
    """Bytes follow the end of the packet."""


class ChecksumError(CorruptPacketError):
    """Bytes of the packet have changed."""


class LimitError(CorruptPacketError):
    """The packet claims more than the decoder allows."""


class LanesError(CorruptPacketError):
    """Entropy decoding did not end in the state in which encoding began."""


class BodyError(CorruptPacketError):
    """Words or escapes are left over, or ran out."""


class SealError(RemoteError, ValueError):
    """A sealed body that was changed, or sealed with another key or for another envelope."""

    exit_code = 4


class EnvelopeError(RemoteError, ValueError):
    """Fields beside a packet (device, sequence, times, notes) that are missing or not what they should be."""

    exit_code = 4


class IncompatibleError(RemoteError, ValueError):
    """An intact packet that this decoder is not for."""

    exit_code = 5


class VersionError(IncompatibleError):
    """A packet of another packet version."""


class CodecError(IncompatibleError):
    """A packet of another codec."""
