"""How far Gaussian references of several structures are from the posterior of DRAW's codes.

    python -m benchmarks.draw reference --weights FILE --data DATA

R_p(D) of codes of many dimensions is measured over a bridge from a Gaussian to the posterior
(`codec.rate_distortion.annealing.bridge`).  Up to 1024 dimensions it has a full precision matrix.
DRAW's codes have thousands, so a cheaper structure would be needed; this says how long the bridge
from each would be.

The posterior p(z|x) ∝ N(z; 0, I) exp(−β ‖x − f(z)‖²) is replaced by the Gaussian with its mode and
the precision P = I + 2β JᵀJ there, J = ∂f/∂z.  The path from N(0, Q⁻¹), centred at the mode, goes
through the precisions (1 − s) Q + s P.  With the eigenvalues λ of Q⁻¹P, its thermodynamic length is

    ∫₀¹ √Var_s(Δ) ds,     Var_s(Δ) = ½ Σ ((λ − 1) / (1 − s + s λ))²

and with T steps of a perfect sampler at equal distances the gap of the certificate is length² / T
(Grosse, Maddison and Salakhutdinov 2013).  This is a lower bound of the difficulty: a full matrix
has the length 0 here, and the true posterior is no Gaussian.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.draw import subject
from benchmarks.draw.decoder import DrawDecoder
from benchmarks.draw.rate import pixels_of
from benchmarks.harness.results import Measured, Report
from benchmarks.harness.small_images import DrawModel, rounded
from codec.datasets.arrays import Images
from codec.rate_distortion.annealing.summary import LARGEST_GAP_NATS
from training.data.small_images import evenly

SCHEMA, RESULT = subject.SCHEMA, subject.RESULT

_NODES, _FURTHEST = 1000, 30.0
"""Nodes of the integral over log(s / (1 − s)), and the interval on either side of 0."""
_ROWS = 128  # of the Jacobian at a time


def posterior_mode(decoder: DrawDecoder, image: Tensor, beta: float, start: Tensor) -> Tensor:
    """The code (dim,) that maximises the posterior of an image (C, h, w)."""
    code = start.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS(
        [code], max_iter=400, history_size=30, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        error = (decoder(code[None])[0] - image).square().sum()
        value: Tensor = beta * error + 0.5 * code.square().sum()
        (code.grad,) = torch.autograd.grad(value, code)
        return value.detach()

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return code.detach()


def precision_at(decoder: DrawDecoder, code: Tensor, beta: float) -> Tensor:
    """I + 2β JᵀJ at a code (dim,), float64 (dim, dim)."""
    jacobian = torch.func.jacrev(lambda z: decoder(z[None]).flatten(), chunk_size=_ROWS)(code)
    wide = jacobian.detach().double()
    precision: Tensor = torch.eye(len(code), dtype=torch.float64) + 2 * beta * wide.T @ wide
    return precision


def places(decoder: DrawDecoder) -> tuple[Tensor, Tensor, Tensor]:
    """Step, row and column of every number of a code, int64 (dim,) each.

    Rows and columns are positions of the coarsest level; each holds the finer ones within it.
    """
    config, side = decoder.network.config, decoder.side
    coarsest = config.levels - 1
    steps, rows, columns = [], [], []
    for step in range(decoder.steps):
        for level in reversed(range(config.levels)):
            count = config.positions(side, level)
            at = torch.arange(count) >> (coarsest - level)
            grid = torch.stack(torch.meshgrid(at, at, indexing="ij")).flatten(1)
            row, column = grid.repeat(1, config.codes[level])
            steps.append(torch.full_like(row, step))
            rows.append(row)
            columns.append(column)
    return torch.cat(steps), torch.cat(rows), torch.cat(columns)


def block_factor(precision: Tensor, block: Tensor) -> Tensor:
    """R with Q = RᵀR for the blocks of P on the diagonal; block int64 (dim,) names them."""
    kept = block[:, None] == block
    factor: Tensor = torch.linalg.cholesky(precision * kept, upper=True)
    return factor


def neighbour_factor(precision: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """R with Q = RᵀR where every position is given the neighbours that come before it.

    In raster order, with the conditional distributions of the posterior itself: the best Gaussian
    of this structure (Vecchia 1988).
    """
    covariance = torch.cholesky_inverse(torch.linalg.cholesky(precision))
    factor = torch.zeros_like(precision)
    width = int(column.max()) + 1
    order = row * width + column
    for position in range(int(order.max()) + 1):
        own = torch.nonzero(order == position).flatten()
        near = (row - position // width).abs() <= 1
        near &= (column - position % width).abs() <= 1
        given = torch.nonzero(near & (order < position)).flatten()
        within, across = covariance[own][:, own], covariance[own][:, given]
        slope = torch.linalg.solve(covariance[given][:, given], across.T).T
        scale = torch.linalg.cholesky(within - slope @ across.T)
        rows = torch.zeros(len(own), len(order), dtype=precision.dtype)
        rows[:, own] = torch.eye(len(own), dtype=precision.dtype)
        rows[:, given] = -slope
        factor[own] = torch.linalg.solve_triangular(scale, rows, upper=False)
    return factor


def path_length(precision: Tensor, factor: Tensor, offset: Tensor | None = None) -> float:
    """Thermodynamic length from N(0, (RᵀR)⁻¹) to N(offset, P⁻¹); R is the factor.

    offset   (dim,); None for 0
    """
    half = torch.linalg.solve(factor.T, precision)
    whitened = torch.linalg.solve(factor.T, half.T)
    if offset is None:
        # Rounding may leave a product that is not quite symmetric; only its lower half is read.
        values, shifts = torch.linalg.eigvalsh(whitened), torch.zeros(len(precision)).double()
    else:
        values, vectors = torch.linalg.eigh(whitened)
        shifts = vectors.T @ (factor @ offset.double())
    at = torch.linspace(-_FURTHEST, _FURTHEST, _NODES, dtype=torch.float64)[:, None]
    power, rest = torch.sigmoid(at), torch.sigmoid(-at)
    variance = 1 / (rest + power * values)
    mean = power * values * shifts * variance
    slope = mean - values * (mean - shifts)
    spread = (slope.square() * variance + 0.5 * ((values - 1) * variance).square()).sum(1)
    return float(torch.trapezoid(spread.sqrt() * (power * rest)[:, 0], at[:, 0]))


def lengths(decoder: DrawDecoder, image: Tensor, beta: float, start: Tensor
            ) -> tuple[dict[str, float], Tensor]:  # fmt: skip
    """The length from each reference at one β, and the mode (dim,)."""
    code = posterior_mode(decoder, image, beta, start)
    precision = precision_at(decoder, code, beta)
    step, row, column = places(decoder)
    position = row * (int(column.max()) + 1) + column
    identity = torch.eye(len(code), dtype=torch.float64)
    everything = torch.arange(len(code))
    return {
        "the prior": path_length(precision, identity, code),
        "a variance for each number": path_length(precision, block_factor(precision, everything)),
        "a matrix for each step": path_length(precision, block_factor(precision, step)),
        "a matrix for each position": path_length(precision, block_factor(precision, position)),
        "each position given its neighbours": path_length(
            precision, neighbour_factor(precision, row, column)
        ),
    }, code


def add_arguments(parser: ArgumentParser) -> None:
    subject.add_subject(parser)
    parser.add_argument("--count", type=int, default=2, help="images, evenly spaced")
    parser.add_argument("--betas", type=float, nargs="+", default=[1.0, 20.0])
    parser.add_argument("--quality", type=float, default=75)


def run(options: Namespace) -> Iterator[Measured]:
    def measure(model: DrawModel, images: Images) -> Report:
        chosen = torch.from_numpy(pixels_of(model, evenly(images, options.count)))
        decoder = DrawDecoder(model.network, chosen.shape[-1], quality=options.quality)
        decoder.requires_grad_(False)
        found: dict[float, list[dict[str, float]]] = {beta: [] for beta in sorted(options.betas)}
        for image in chosen:
            code = torch.zeros(decoder.dim)
            for beta, of_images in found.items():
                of_image, code = lengths(decoder, image, beta, code)
                of_images.append(of_image)
        return {
            "code_dimensions": decoder.dim,
            "images": len(chosen),
            "quality": options.quality,
            "found": rounded(
                [
                    {"beta": beta, "reference": name, **_steps([one[name] for one in of_images])}
                    for beta, of_images in found.items()
                    for name in of_images[0]
                ]
            ),
        }

    yield from subject.measured(options, "reference", measure)


def _steps(of_images: list[float]) -> dict[str, float]:
    """The mean length, and the steps after which the mean gap is the largest that is certified."""
    squares = [length**2 for length in of_images]
    return {
        "length": sum(of_images) / len(of_images),
        "steps": sum(squares) / len(squares) / LARGEST_GAP_NATS,
    }
