"""The option --model of parts that measure one of the photo models.

Results of another model than the default one lie beside those of it, with its name in theirs.
"""

from __future__ import annotations

from argparse import ArgumentParser


class ModelName(str):
    """The name of a model."""

    __slots__ = ()

    @property
    def suffix(self) -> str:
        """What the name of a result file ends with: nothing for photo."""
        return "" if self == "photo" else f"-{self}"


def add_model(parser: ArgumentParser) -> None:
    """--model, as `options.model`; in `RESULT` of a part, `{model.suffix}` stands for it."""
    parser.add_argument(
        "--model", type=ModelName, default=ModelName("photo"), help="photo (default) or photo-next"
    )
