"""Where bytes go: a file object of the caller, which may take fewer of them than it is given."""

import io
import os
from typing import Any, BinaryIO, cast

from bitstream import OutputError, UsageError
from codec.system.source import reason_of


def whole_writes(fo: Any, name: str | None = None) -> BinaryIO:
    """Give a binary file object that writes all bytes to another one, or raises an error.

    fo     a file object with ``write``; unbuffered files and sockets take a part of what they are
           given, and one that does not block may take nothing
    name   of the file, for messages; None takes its own

    It seeks where the file object can.  Raises UsageError for one that takes text or was opened for
    reading, OutputError for one that is closed, full, or takes nothing.
    """
    return cast(BinaryIO, _WholeWrites(fo, name or str(getattr(fo, "name", "the output"))))


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
        # Objects such as the response of a web framework take everything and return None; of a
        # raw stream None means that it took nothing (documentation of io.RawIOBase.write).
        if count is None and not isinstance(self._fo, io.RawIOBase):
            return size
        if count is None or (count == 0 < size):
            raise OutputError(f"cannot write {self.name}: it takes no bytes now (non-blocking)")
        if not isinstance(count, int) or not 0 <= count <= size:
            raise OutputError(
                f"cannot write {self.name}: its write(data) returned {count!r} for {size} bytes, "
                "expected how many it took"
            )
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._call("seek", offset, whence)
        return self.tell()

    def tell(self) -> int:
        return int(self._call("tell"))

    def seekable(self) -> bool:
        return hasattr(self._fo, "seekable") and bool(self._call("seekable"))

    def flush(self) -> None:
        if hasattr(self._fo, "flush"):
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
        except Exception as error:  # networks have exceptions of their own
            raise OutputError(f"cannot write {self.name}: {reason_of(error)}") from error
