"""``python -m codec`` is the command ``calotype``; this is where both begin."""

import atexit
import gc
import os
import signal
from typing import NoReturn


def main() -> None:
    """Run the command and exit."""
    # While modules are loaded nothing has begun, and an exception would print where in them.
    signal.signal(signal.SIGINT, _leave)
    # At its end the interpreter looks for garbage among all objects, for a fifth of the time that a
    # photograph takes to decode. The system takes the memory back anyway.
    atexit.register(gc.freeze)
    from codec.cli import main as run

    signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


def _leave(number: int, frame: object) -> NoReturn:
    os._exit(128 + number)


if __name__ == "__main__":
    main()
