"""The settings of R_p(D) and their defaults, which `calotype bound` shares.

NumPy and torch are imported only when `Settings` are made, because `calotype --help` imports this
module.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bitstream.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from codec.rate_distortion.annealing.executors import Progress
    from codec.rate_distortion.distortions import Distortion

ROWS_PER_BLOCK = {"cpu": 1000, "cuda": 40_000}
"""Images × chains of one block: enough to fill the caches of a CPU, or a GPU."""


@dataclass(frozen=True)
class MoveSettings:
    """How the moves are made.

    leapfrog           maximum number of leapfrog steps of a trajectory
    trajectory         length of a trajectory, in standard deviations of the target
    target_acceptance  acceptance to which the pilot tunes the step size
    jitter             interval of the random factor on each trajectory's step size
    precondition       "dense" shapes the moves by the covariance that the pilot measured within
                       images, "diagonal" by its diagonal, "none" by its mean variance

    Raises `UsageError` for another `precondition`.
    """

    leapfrog: int = 10
    trajectory: float = 1.5
    target_acceptance: float = 0.9
    jitter: tuple[float, float] = (0.7, 1.3)
    precondition: str = "dense"

    def __post_init__(self) -> None:
        if self.precondition not in ("dense", "diagonal", "none"):
            raise UsageError(
                f"precondition {self.precondition!r}: expected 'dense', 'diagonal' or 'none'"
            )


@dataclass(frozen=True)
class Settings:
    """How R_p(D) is measured.

    distortion    "sse", "mse", "ms-ssim", or an object of `distortions`
    betas         rising β to report; β = 0 is exact.  None takes as many as `points`, from a rate
                  of about 0.05 nats to where the distortion no longer falls
    temperatures  number of temperatures of the annealing from the prior; the pilot places them
    reference     where the passes start: "prior"; "local", a Gaussian that is fitted to each
                  image's posterior at each β; or "auto", the better of the two at each β on pilot
                  images.  Local references need a prior that is `StandardNormal` or
                  `GaussianMixture`, a distortion with `residual`, a decoder with a Jacobian and at
                  most 1024 dimensions.  Otherwise "auto" uses the prior, and "local" is an error
    bridge_steps  maximum number of steps from a local reference to the posterior; the pilot takes
                  fewer if they are enough
    modes         Gaussians of a local reference for each component of the prior; None takes 1, or
                  2, 4 or 8 if pilot data show that posteriors have several modes
    chains        chains for each image
    device        "cpu" or "cuda"
    executor      any `concurrent.futures.Executor`; None computes in this process.  The curve
                  depends only on the seed
    certify       run bidirectional Monte Carlo with `simulations` simulated images at each β
    method        "smc", or "ais" for annealed importance sampling without resampling
    moves         settings of the Hamiltonian moves; None takes the defaults
    precision     "float32", or "bfloat16" for the forces inside a trajectory and the Jacobians
                  that references are fitted with; energies and weights are exact in either case
    progress      called with (done, total, name of the phase) again and again, in any unit; total
                  is 0 while it is not known.  A phase that begins above 0 had finished blocks
    blocks        folder in which finished blocks are stored, so that a run with the same arguments
                  can reuse them; the caller removes it

    Raises `UsageError` for values that do not fit.
    """

    distortion: str | Distortion = "sse"
    betas: Sequence[float] | None = None
    points: int = 40
    temperatures: int = 1000
    chains: int = 20
    reference: str = "auto"
    bridge_steps: int = 64
    modes: int | None = None
    seed: int = 0
    device: str = "cpu"
    executor: Executor | None = None
    certify: bool = True
    simulations: int = 10
    method: str = "smc"
    moves: MoveSettings | None = None
    precision: str = "float32"
    progress: Progress | None = None
    blocks: Path | None = None

    def __post_init__(self) -> None:
        import torch

        from codec.rate_distortion.array_checks import rising_betas, whole_number
        from codec.rate_distortion.distortions import find_distortion

        object.__setattr__(self, "distortion", find_distortion(self.distortion))
        if self.betas is not None:
            object.__setattr__(self, "betas", rising_betas(self.betas, above_zero=True))
        # Far beyond any use, these upper limits keep memory bounded.
        for name, least, most in (
            ("chains", 2, 10**5), ("temperatures", 1, 10**6), ("simulations", 1, 10**5),
            ("seed", 0, None), ("bridge_steps", 1, 10**5), ("points", 2, 10**4),
        ):  # fmt: skip
            whole_number(name, getattr(self, name), at_least=least, at_most=most)
        if self.modes is not None:
            whole_number("modes", self.modes, at_least=1, at_most=1000)
        for name, known in (
            ("method", ("smc", "ais")),
            ("precision", ("float32", "bfloat16")),
            ("reference", ("auto", "local", "prior")),
        ):
            if getattr(self, name) not in known:
                raise UsageError(
                    f"{name} {getattr(self, name)!r} is unknown; expected "
                    f"{', '.join(map(repr, known[:-1]))} or {known[-1]!r}"
                )
        kind = torch.device(self.device).type
        if kind not in ROWS_PER_BLOCK:
            raise UsageError(f"device {self.device!r} is unknown; expected 'cpu' or 'cuda'")
        if kind == "cuda" and not torch.cuda.is_available():
            raise UsageError(
                f"device {self.device!r} was asked for, but torch sees none; use 'cpu'"
            )
