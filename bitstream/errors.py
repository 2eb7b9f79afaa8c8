"""The project's base exception, the exit codes, and the exceptions about files and models.

    CalotypeError                       exit code 1
    ├── UsageError (and ValueError)     2   an argument has an unusable value
    ├── InputError                      3   the input image cannot be read or is not supported
    ├── StreamError                     4   the compressed bytes are damaged or not ours
    │   ├── NotACaloFileError           3   wrong signature: another kind of file
    │   ├── TextModeDamageError             our signature, changed by a text-mode or 7-bit transfer
    │   ├── EmptyFileError                  no bytes at all
    │   ├── UnsupportedVersionError         written by a later version of the format
    │   ├── TruncatedError                  the bytes end too early
    │   ├── ChecksumError                   the CRC-32 of a chunk does not match
    │   ├── UnknownCriticalChunkError       an unknown chunk that a decoder has to understand
    │   ├── ChunkOrderError                 a chunk at a place where the format does not allow it
    │   ├── DuplicateChunkError             a second chunk of a kind that may occur only once
    │   ├── MissingChunkError               a required chunk is absent
    │   ├── ChunkIndexError                 the index disagrees with the chunks
    │   ├── HeaderError                     a header field has an impossible value
    │   ├── LimitError                      a size is above its cap in ``limits.py``
    │   ├── PayloadError                    coded symbols or a varint cannot be decoded
    │   └── TrailingDataError               bytes after the end of the file
    ├── ModelError                      5   the model of a file cannot be used
    │   ├── UnknownModelError               no model has this number or name
    │   ├── WeightsMissingError             the weights are not installed
    │   ├── WeightsMismatchError            the weights are not those the file was written with
    │   └── TableError                      probability tables that break a rule
    └── OutputError                     6   the output cannot be written

Other packages add subclasses beside the code that raises them, with the exit code of their parent:

    MissingExtraError (UsageError)      codec/system/missing_extra.py
    WorkerError (CalotypeError)         codec/system/workers.py
    OverlapError (UsageError), ResultFileError (InputError), MeasurementError (CalotypeError)
                                        codec/rate_distortion/errors.py
    UserCodeError (ModelError)          codec/rate_distortion/user_code/load_file.py
    ProcessLostError (CalotypeError)    training/loop/process_group.py

``exit_code`` is what the command returns when the error ends it.  A message says what was read,
what was expected, and what to do.
"""


class CalotypeError(Exception):
    """Base class of every exception that the project raises on purpose."""

    exit_code: int = 1


class UsageError(CalotypeError, ValueError):
    """An argument has a value or a shape that cannot be used."""

    exit_code = 2


class InputError(CalotypeError):
    """The input image cannot be read, or is of a kind that is not supported."""

    exit_code = 3


class StreamError(CalotypeError):
    """The compressed bytes are damaged, incomplete, or not a .calo file."""

    exit_code = 4


class NotACaloFileError(StreamError):
    """The bytes do not begin with the signature: an input of another kind, not a damaged one."""

    exit_code = 3


class TextModeDamageError(StreamError):
    """The signature shows a transfer that changed line ends, character set or the high bit."""


class EmptyFileError(StreamError):
    """There are no bytes."""


class UnsupportedVersionError(StreamError):
    """The file was written by a later version of the format."""


class TruncatedError(StreamError):
    """The bytes end before the file is complete."""


class ChecksumError(StreamError):
    """The CRC-32 of a chunk does not match its bytes."""


class UnknownCriticalChunkError(StreamError):
    """A chunk that a decoder must understand is unknown to this one."""


class ChunkOrderError(StreamError):
    """A chunk stands where the format does not allow it."""


class DuplicateChunkError(StreamError):
    """A chunk that may occur only once occurs again."""


class MissingChunkError(StreamError):
    """A chunk that must be present is absent."""


class ChunkIndexError(StreamError):
    """The INDX chunk disagrees with the DATA chunks or with the header."""


class HeaderError(StreamError):
    """A header field has a value that no encoder writes."""


class LimitError(StreamError):
    """A size in the stream is above the cap in ``bitstream.limits``."""


class PayloadError(StreamError):
    """Coded bytes decode past their end, leave bytes over, or hold a malformed varint."""


class TrailingDataError(StreamError):
    """There are bytes after the DONE chunk."""


class ModelError(CalotypeError):
    """The model that a file or a command names cannot be used."""

    exit_code = 5


class UnknownModelError(ModelError):
    """No model with this number or name is known."""


class WeightsMissingError(ModelError):
    """The weights of the model are not installed."""


class WeightsMismatchError(ModelError):
    """The installed weights are not those that the file was written with."""


class TableError(ModelError):
    """A set of probability tables breaks a rule: sums, entries, or array shapes."""


class OutputError(CalotypeError):
    """The output cannot be written."""

    exit_code = 6
