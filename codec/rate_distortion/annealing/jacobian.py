"""The Jacobian of a distortion's residual with respect to the codes, from which the local
reference is fitted.

    r(z) = residual(x, f(z)),   d(x, f(z)) = ‖r(z)‖² + constant,   J = ∂r/∂z

Forward differentiation takes one pass for each dimension of the code, all of them vectorised.  A
decoder without forward derivatives (TorchScript, some custom operators) is differentiated twice
backwards instead, column by column.

If the forces of the moves may be computed in bfloat16, so may the Jacobians: on a processor with
instructions for it they take a quarter of the time.  They only shape the reference, and any
reference gives correct results.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch.func import jvp, vmap

from bitstream.errors import UsageError
from codec.rate_distortion.annealing.tempering import Decode
from codec.rate_distortion.distortions import Distortion
from codec.rate_distortion.errors import MeasurementError

PRODUCT = 0.5
"""Cost of a product of the Jacobian and a vector in gradients: it needs only a forward pass."""

LARGEST_JACOBIAN = 2**23
"""Entries of the Jacobians that are computed at a time."""

LARGEST_OF_A_CODE = 2**26
"""Most entries of the Jacobian of one code, a quarter of a gigabyte in float32."""

Columns: TypeAlias = "Callable[[ResidualJacobian, torch.Tensor, torch.Tensor], Any]"
"""A way to compute r(z) and J; a function of this module, which can be sent to processes."""

_FORWARD_LEVEL = threading.Lock()
"""Held during forward differentiation, of which torch has one level for all threads."""

AGREE = 1e-3
"""Largest relative difference between a distortion and the square of its residual, or between a
Jacobian and the gradient."""


class ResidualJacobian:
    """r(z) and J at codes z, and a count of the Jacobian-vector products that this took.

    columns   how the Jacobian is computed

    The constructor raises `MeasurementError` for a distortion without `residual` or if no Jacobian
    can be computed, and `UsageError` if `residual` does not match the distortion.
    """

    columns: Columns

    def __init__(
        self,
        decode: Decode,
        distortion: Distortion,
        targets: torch.Tensor,
        codes: torch.Tensor,
        *,
        dtype: torch.dtype = torch.float32,
        columns: Columns | None = None,
    ) -> None:
        """Try both ways on `codes` (r, k), r ≥ 2, with `targets` (r, …), in float32.

        dtype     the decoder's arithmetic afterwards
        columns   the way that was found before, which is not tried again: on other codes rounding
                  may be larger, and any Jacobian gives correct results
        """
        self.decode, self.distortion = decode, distortion
        self._dtype = torch.float32
        self.products = 0
        """Jacobian-vector products so far, counted for each row."""
        if columns is not None:
            self.columns, self._dtype = columns, dtype
            return
        if not hasattr(distortion, "residual"):
            raise MeasurementError(f"{distortion.name} is not a sum of squares (no residual)")
        value, gradient = self._checked(targets, codes)
        failures = []
        for self.columns in (_forward, _twice_backward):
            try:
                residual, jacobian = self(targets, codes)
            # Whatever a user's decoder raises, it has no Jacobian this way.
            except Exception as error:  # noqa: BLE001
                failures.append(f"{type(error).__name__}: {str(error).splitlines()[0][:200]}")
                continue
            found = 2 * torch.einsum("rmk,rm->rk", jacobian, residual)
            scale = gradient.norm() + 1e-6 * value.abs().sum() + 1e-12
            if float((found - gradient).norm()) <= AGREE * float(scale):
                self._dtype = dtype
                return
            failures.append("it disagrees with the gradient of the distortion")
        raise MeasurementError(f"the decoder has no usable Jacobian ({'; '.join(failures)})")

    def __call__(
        self, targets: torch.Tensor, codes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Targets (r, …) and codes (r, k) to r(z) (r, m) and J (r, m, k), without gradients."""
        self.products += codes.numel()
        reduced = self._dtype != torch.float32
        with torch.autocast(codes.device.type, self._dtype, enabled=reduced):
            residual, jacobian = self.columns(self, targets, codes.detach())
        return residual.detach(), jacobian.detach()

    def rows_at_a_time(self, targets: torch.Tensor, dim: int) -> int:
        """How many rows to take at a time so that their Jacobians fit the caches."""
        return max(1, LARGEST_JACOBIAN // (dim * max(1, targets[0].numel())))

    def residual(self, targets: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """r(z), (r, m), in the precision of the targets."""
        found: torch.Tensor = self.distortion.residual(  # type: ignore[attr-defined]
            targets, self.decode(codes).to(targets.dtype)
        )
        return found

    def _checked(
        self, targets: torch.Tensor, codes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """d (r,) and its gradient (r, k), after checking that d − ‖r‖² is constant."""
        codes = codes.detach().requires_grad_(True)
        with torch.enable_grad():
            value = self.distortion(targets, self.decode(codes).to(targets.dtype))
            name = self.distortion.name
            if not value.requires_grad:
                raise MeasurementError(f"{name} has no gradient in the codes")
            if not torch.isfinite(value).all():
                raise MeasurementError(f"{name} is NaN or infinite for some codes")
            (gradient,) = torch.autograd.grad(value.sum(), codes)
        with torch.no_grad():
            residual = self.residual(targets, codes)
        if residual.ndim == 2 and residual.shape[1] * codes.shape[1] > LARGEST_OF_A_CODE:
            raise MeasurementError(
                f"the Jacobian of one code has {residual.shape[1]:,} × {codes.shape[1]:,} entries, "
                f"more than {LARGEST_OF_A_CODE:,}"
            )
        if residual.ndim != 2 or len(residual) != len(codes):
            raise UsageError(
                f"the residual of {name} has the shape {tuple(residual.shape)}, "
                f"expected ({len(codes)}, m)"
            )
        value = value.detach()
        constant = value - residual.square().sum(1)
        spread = float((constant - constant.mean()).abs().max())
        if not spread <= AGREE * float(value.abs().max() + constant.abs().max() + 1e-12):
            raise UsageError(
                f"the residual of {name} is not its root: d − ‖r‖² should be the same for every "
                f"image, and differs by {spread:.3g}"
            )
        return value, gradient


def _forward(
    owner: ResidualJacobian, targets: torch.Tensor, codes: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    def along(direction: torch.Tensor) -> Any:
        def of(z: torch.Tensor) -> torch.Tensor:
            return owner.residual(targets, z)

        return jvp(of, (codes,), (direction.expand_as(codes),))

    directions = torch.eye(codes.shape[1], dtype=codes.dtype, device=codes.device)
    axes: Any = (None, 0)
    with _FORWARD_LEVEL:
        residual, columns = vmap(along, out_dims=axes)(directions)
    return residual, columns.permute(1, 2, 0)


def _twice_backward(
    owner: ResidualJacobian, targets: torch.Tensor, codes: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """r(z) and J: Jᵀv is linear in v, so the gradient in v of its entry i is column i of J."""
    codes = codes.requires_grad_(True)
    with torch.enable_grad():
        residual = owner.residual(targets, codes)
        dummy = torch.zeros_like(residual, requires_grad=True)
        (pulled,) = torch.autograd.grad(residual, codes, dummy, create_graph=True)
        columns = [
            torch.autograd.grad(pulled[:, index].sum(), dummy, retain_graph=True)[0]
            for index in range(codes.shape[1])
        ]
    return residual, torch.stack(columns, 2)
