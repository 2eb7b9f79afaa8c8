"""A real browser for tests: Chromium without a window, controlled over a pipe by its own protocol.

The protocol (https://chromedevtools.github.io/devtools-protocol/) is JSON, with a zero byte after
each message; Chromium reads it from file descriptor 3 and writes to 4.
"""

from __future__ import annotations

import base64
import fcntl
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--force-color-profile=srgb", "--hide-scrollbars",
    "--window-size=1000,900", "--remote-debugging-pipe",
)  # fmt: skip
# Moves the two ends of the pipes to the descriptors that Chromium uses.
LAUNCHER = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); "
    "os.execv(sys.argv[3], sys.argv[3:])"
)


def find_browser() -> str | None:
    """Path of an installed Chromium, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Page:
    """One page in a browser."""

    def __init__(self, write_end: int, read_end: int) -> None:
        self._to, self._from = os.fdopen(write_end, "wb"), os.fdopen(read_end, "rb")
        self._rest, self._count, self._session = b"", 0, ""
        self.console: list[str] = []

    def open(self, path: Path) -> None:
        """Open a local file, and wait until it is complete."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")
        self.send("Page.navigate", url=path.as_uri())
        for _ in range(400):
            if self.run("document.readyState + location.protocol") == "completefile:":
                return
            time.sleep(0.02)
        raise TimeoutError(f"{path} was not loaded")

    def run(self, script: str) -> Any:
        """The value of an expression."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse at one place, move it to another, release it."""
        for kind, (x, y) in (
            ("mouseMoved", start), ("mousePressed", start), ("mouseMoved", end),
            ("mouseReleased", end),
        ):  # fmt: skip
            held = {} if kind == "mouseMoved" and (x, y) == start else {"button": "left"}
            count = {} if kind == "mouseMoved" else {"clickCount": 1}
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, buttons=1, **held, **count)

    def press(self, key: str) -> None:
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                      windowsVirtualKeyCode={"ArrowRight": 39, "Enter": 13}[key])  # fmt: skip

    def screenshot(self) -> npt.NDArray[np.uint8]:
        """The visible part: uint8 (height, width, 3), one pixel for each unit of CSS."""
        data = base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))

    def send(self, method: str, **parameters: Any) -> Any:
        """Send one command, and return its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        self._to.flush()
        while True:
            answer = self._read()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]
            if answer.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.console.append(json.dumps(answer["params"]))

    def close(self) -> None:
        """Close both pipes."""
        self._to.close()
        self._from.close()

    def _read(self) -> Any:
        while b"\0" not in self._rest:
            piece = os.read(self._from.fileno(), 2**16)
            if not piece:
                raise ConnectionError("the browser has ended")
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)


@contextmanager
def browser_page(profile: Path) -> Iterator[Page]:
    """A page in a new browser, whose files go to the folder `profile`."""
    executable = find_browser()
    assert executable is not None
    (there, write_end), (read_end, back) = os.pipe(), os.pipe()
    # Above the numbers to which they are moved, so that neither move closes the other.
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (there, back)]
    command = [executable, *OPTIONS, f"--user-data-dir={profile}"]
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, *map(str, ends), *command],
        pass_fds=ends,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for end in (there, back, *ends):
        os.close(end)
    page = Page(write_end, read_end)
    try:
        yield page
    finally:
        process.terminate()
        process.wait(timeout=20)
        page.close()
