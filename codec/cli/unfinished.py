"""The finished blocks of a `calotype bound` that has not ended: what is resumed, kept and said."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bitstream.errors import OutputError, UsageError
from codec.cli.terminal import print_notice
from codec.system.write_file import make_folder, write_atomically

if TYPE_CHECKING:
    from codec.rate_distortion.annealing.executors import Progress

OPTIONS = "options.json"


class UnfinishedRun:
    """The folder `unfinished` beside the results.

    found   whether an earlier run left blocks there that this one resumes
    """

    def __init__(
        self, output: Path, options: Mapping[str, object], *, resume: bool, force: bool
    ) -> None:
        """Look for blocks of an earlier run, and change nothing.

        options   what has to be the same in both runs, plain JSON values
        force     discard blocks instead of raising errors

        Raises `OutputError` if there are blocks that are neither resumed nor discarded, and
        `UsageError` if a run with other options is resumed.
        """
        from codec.rate_distortion.annealing.finished import count_blocks

        self.folder = output / "unfinished"
        self._options: dict[str, object] = json.loads(json.dumps(options))  # as it is read again
        any_blocks = count_blocks(self.folder) > 0
        if (any_blocks or (self.folder / OPTIONS).exists()) and not (resume or force):
            raise OutputError(
                f"{self.folder} is of a run that has not ended: if it was interrupted, --resume "
                "continues it, and -f discards its finished blocks"
            )
        differing = self._differing() if any_blocks and resume else []
        if differing and not force:
            raise UsageError(
                f"{self.folder} is of a run with other options ({', '.join(differing)}): give the "
                "same ones, or -f to start from the beginning"
            )
        self.found = any_blocks and resume and not differing
        if resume and not any_blocks:
            print_notice(f"nothing to resume in {self.folder}: starting from the beginning")

    def begin(self) -> None:
        """Discard blocks that are not resumed; raises `OutputError` if that is impossible."""
        if not self.found:
            self.remove()
        make_folder(self.folder)
        text = json.dumps(self._options, indent=1).encode()
        write_atomically(self.folder / OPTIONS, lambda fo: fo.write(text), force=True)

    def remove(self) -> None:
        """Remove the blocks, and the folder unless it has other files."""
        from codec.rate_distortion.annealing.finished import clear_blocks

        (self.folder / OPTIONS).unlink(missing_ok=True)
        clear_blocks(self.folder)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Say how to continue if the block does not end, whatever the reason."""
        from codec.rate_distortion.annealing.finished import count_blocks

        try:
            yield
        except BaseException:
            if count_blocks(self.folder):
                print_notice(
                    f"finished blocks are kept in {self.folder}: run the same command with "
                    "--resume to continue"
                )
            else:
                print_notice("no block was finished: nothing can be resumed")
                self.remove()
            raise

    def telling(self, tell: Progress) -> Progress:
        """A progress function that also says once what is resumed."""
        from codec.rate_distortion.annealing.rd_curve import MEASURING

        current, reused = "", False

        def telling(done: float, total: float, phase: str) -> None:
            nonlocal current, reused
            if phase != current:
                current = phase
                # What is done when a phase begins was found on disk.
                reused |= done > 0
                if phase == MEASURING and self.found:
                    print_notice(
                        f"resuming: {done / total:.0%} of the measurement was done before"
                        if done
                        else "resuming: the trial of the references was done before"
                        if reused
                        else f"no block in {self.folder} can be used, because they are damaged or "
                        "of another model, other images or another version: starting from the "
                        "beginning"
                    )
            tell(done, total, phase)

        return telling

    def _differing(self) -> list[str]:
        """Such as "seed 0, now 1", for each option that the earlier run had otherwise."""
        try:
            before = json.loads((self.folder / OPTIONS).read_bytes())
        except (OSError, ValueError):
            return []
        if not isinstance(before, dict):
            return []
        return [
            f"{name} {_shown(before[name])}, now {_shown(value)}"
            for name, value in self._options.items()
            if name in before and before[name] != value
        ]


def _shown(value: object) -> str:
    return "automatic" if value is None else str(value)
