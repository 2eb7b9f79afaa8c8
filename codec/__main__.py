"""The entry point of ``python -m codec`` and of the command ``calotype``."""

import atexit
import gc
import os
import signal
from typing import NoReturn


def main() -> None:
    """Run the command and exit."""
    # During the imports there is nothing to clean up, and an exception would print a traceback.
    signal.signal(signal.SIGINT, _leave)
    # At exit the interpreter would run the garbage collector over all objects, which takes a fifth
    # of the time of decoding a photograph. The system reclaims the memory anyway.
    atexit.register(gc.freeze)
    from codec.cli import main as run

    signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


def _leave(number: int, frame: object) -> NoReturn:
    os._exit(128 + number)


if __name__ == "__main__":
    main()
