"""The context model of mbt2018 and cheng2020, one wavefront at a time.

The tables of a position depend on latents above and to the left, up to two positions away
(Minnen, Ballé and Toderici, NeurIPS 2018, section 3.1).  In raster order that means one small step
of the networks per position.  Positions with the same column + 3 · row do not depend on each
other, so one step serves them all, and a tile of h × w needs w + 3 (h − 1) steps::

    row 0   0  1  2  3  4  5
    row 1   3  4  5  6  7  8      the step of each position: later than all that it depends on
    row 2   6  7  8  9 10 11
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

RADIUS = 2
_TAPS = tuple(
    (row, column)
    for row in range(-RADIUS, 1)
    for column in range(-RADIUS, RADIUS + 1)
    if row < 0 or column < 0
)

CodeWave = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""From scales and means (M, n), rows and columns (n,) to symbols (M, n), all of one wavefront."""


class ContextModel:
    """The two networks that compute scales and means from hyper-latents and earlier latents.

    weight, bias        (2M, M, 5, 5) and (2M,) of the masked convolution; non-causal taps are not
                        read
    entropy_parameters  1 × 1 convolutions, 4M channels to 2M: scales, then means

    Everything is float64.
    """

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor, entropy_parameters: nn.Module
    ) -> None:
        taps = [weight[:, :, row + RADIUS, column + RADIUS] for row, column in _TAPS]
        self._weight = torch.cat(taps, dim=1).double()
        self._bias = bias.double()[:, None]
        self._entropy_parameters = entropy_parameters.double()
        self._channels = weight.shape[1]

    def scan(self, parameters: torch.Tensor, code: CodeWave) -> torch.Tensor:
        """Latents (M, h, w), symbols plus means, of a tile; `code` codes each wave.

        parameters   float64 (2M, h, w), from the hyper-latents
        """
        height, width = parameters.shape[1:]
        canvas = parameters.new_zeros(self._channels, height + RADIUS, width + 2 * RADIUS)
        all_rows = torch.arange(height)
        for step in range(width + (RADIUS + 1) * (height - 1)):
            all_columns = step - (RADIUS + 1) * all_rows
            inside = (all_columns >= 0) & (all_columns < width)
            rows, columns = all_rows[inside], all_columns[inside]
            if not len(rows):  # a tile of one or two columns has steps without positions
                continue
            scales, means = self._parameters(canvas, parameters, rows, columns)
            symbols = code(scales, means, rows, columns)
            canvas[:, rows + RADIUS, columns + RADIUS] = symbols.double() + means
        return canvas[:, RADIUS:, RADIUS:-RADIUS]

    def _parameters(
        self,
        canvas: torch.Tensor,
        parameters: torch.Tensor,
        rows: torch.Tensor,
        columns: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        around = [canvas[:, rows + RADIUS + r, columns + RADIUS + c] for r, c in _TAPS]
        context = self._weight @ torch.cat(around) + self._bias
        both = torch.cat([parameters[:, rows, columns], context])
        scales, means = self._entropy_parameters(both[None, :, None])[0, :, 0].chunk(2)
        return scales, means
