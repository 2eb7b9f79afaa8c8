"""How each generative model is trained: the learner of its family."""

from __future__ import annotations

import torch

from training.generative.config import GenerativePreset
from training.generative.flow import FlowLearner
from training.generative.gan import GanLearner
from training.generative.learner import GenerativeLearner
from training.generative.m2 import ClassVaeLearner, M2Learner
from training.generative.rae import RaeLearner
from training.generative.vae import VaeLearner
from training.generative.wae import WaeLearner
from training.generative.wpp import WppLearner

LEARNERS: dict[
    str, type[VaeLearner | WaeLearner | RaeLearner | FlowLearner | GanLearner | WppLearner]
] = {
    "vae": VaeLearner,
    "class-vae": ClassVaeLearner,
    "m2": M2Learner,
    "wae": WaeLearner,
    "rae": RaeLearner,
    "flow": FlowLearner,
    "gan": GanLearner,
    "wpp": WppLearner,
}


def generative_learner(
    preset: GenerativePreset, *, autocast: bool = True, device: torch.device | None = None
) -> GenerativeLearner:
    """The learner of a preset, always with the same untrained networks."""
    return LEARNERS[preset.method](preset, autocast=autocast, device=device)
