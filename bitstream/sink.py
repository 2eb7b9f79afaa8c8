"""Writing all bytes to a caller's file object, which may take fewer than it is given."""

import io
import os
import sys
from typing import Any, BinaryIO, cast

from bitstream.errors import OutputError, UsageError
from bitstream.foreign import attribute_of, has, integer_of, reason_of, shown

if sys.platform != "win32":
    import fcntl


def whole_writes(fo: Any, name: str | None = None) -> BinaryIO:
    """Return a binary file object that writes all bytes to another one, or raises an error.

    fo     a file object with ``write``; unbuffered files and sockets may take only a part of what
           they are given, and non-blocking ones nothing
    name   the name of the file in messages; None takes its own

    The result can seek if ``fo`` can, unless the system appends all that is written to it.  Its
    methods raise UsageError if ``fo`` takes text or was opened for reading, OutputError if it is
    closed, full, or takes nothing.
    """
    if isinstance(fo, _WholeWrites) and name is None:
        return cast(BinaryIO, fo)
    return cast(BinaryIO, _WholeWrites(fo, name or str(attribute_of(fo, "name", "the output"))))


class _WholeWrites:
    def __init__(self, fo: Any, name: str) -> None:
        self._fo = fo
        self.name = name

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        count = self._written(data, size)
        if count < size:
            view = memoryview(data).cast("B")
            while count < size:
                count += self._written(view[count:], size - count)
        return size

    def _written(self, data: Any, size: int) -> int:
        count = self._call("write", data)
        # Objects such as the response of a web framework take everything and return None.  A raw
        # stream returns None if it took nothing (documentation of io.RawIOBase.write).
        if count is None and not isinstance(self._fo, io.RawIOBase):
            return size
        if count is None or (count == 0 < size):
            raise OutputError(f"cannot write {self.name}: it takes no bytes now (non-blocking)")
        taken = integer_of(count)
        if taken is None or not 0 <= taken <= size:
            raise OutputError(
                f"cannot write {self.name}: its write(data) returned {shown(count)} for {size} "
                "bytes, expected how many it took"
            )
        return taken

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._call("seek", offset, whence)
        return self.tell()

    def tell(self) -> int:
        found = self._call("tell")
        place = integer_of(found)
        if place is None:
            raise OutputError(
                f"cannot write {self.name}: its tell() returned {shown(found)}, expected an integer"
            )
        return place

    def seekable(self) -> bool:
        if not has(self._fo, "seekable") or _appends(self._fo):
            return False
        return bool(self._call("seekable"))

    def flush(self) -> None:
        if has(self._fo, "flush"):
            self._call("flush")

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            return getattr(self._fo, method)(*arguments)
        except io.UnsupportedOperation as error:
            raise UsageError(
                f"{self.name} cannot be written ({error}), expected a binary file object: open it "
                "with 'wb'"
            ) from error
        except (TypeError, AttributeError, NotImplementedError) as error:
            raise UsageError(
                f"{self.name} does not take bytes ({reason_of(error)}), expected a binary "
                "file object: open it with 'wb'"
            ) from error
        except Exception as error:  # network file objects have exceptions of their own
            raise OutputError(f"cannot write {self.name}: {reason_of(error)}") from error


def _appends(fo: Any) -> bool:
    """Whether all bytes go to the end of the file, even after a seek, as with a shell's ``>>``."""
    if "a" in str(attribute_of(fo, "mode", "")):
        return True
    if sys.platform == "win32":
        return False
    try:
        return bool(fcntl.fcntl(fo.fileno(), fcntl.F_GETFL) & os.O_APPEND)
    except Exception:  # noqa: BLE001 - not a file of the system, or a detached one
        return False
