"""Where weights come from: what the commands that export them are told, and their cards say."""

from __future__ import annotations

import argparse
from dataclasses import dataclass


@dataclass(frozen=True)
class Origin:
    """Data, licence of the weights, and the command that trained them: free text each."""

    data: str
    licence: str
    command: str

    @classmethod
    def of(cls, options: argparse.Namespace) -> Origin:
        """From a command line with the options of `add_origin_options`."""
        return cls(options.data_description, options.licence, options.command)


def add_origin_options(parser: argparse.ArgumentParser) -> None:
    """Add --data-description, --licence and --command."""
    for flag, meaning in (
        ("--data-description", "what it was trained on, for the card"),
        ("--licence", "of the weights, for the card"),
        ("--command", "the training command, for the card"),
    ):
        parser.add_argument(flag, default="not stated", help=meaning)
