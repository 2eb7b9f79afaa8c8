"""A small classifier of 32×32 images, whose last hidden layer gives features for Fréchet distances.

    python -m training features --data TRAIN.tar --minutes 10 -o features.safetensors
    python -m training features --data MNIST     --minutes 10 -o digits.safetensors

The class of a picture is the part of its file name before the first underscore; digits have a label
file. Larger pictures are averaged down to 32×32; those of MNIST get a black border, and grey is
repeated in three channels. The Fréchet distance of two sets of images is that of Gaussians fitted
to their features; it is not comparable with that of any other network.

Weights files are safetensors: float16 arrays, and in the metadata the sizes and the card.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import KW_ONLY, asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from bitstream.arrays import Float64Array, Int64Array
from bitstream.errors import InputError, UsageError, WeightsMismatchError
from codec.datasets.arrays import Images, read_images
from codec.datasets.pictures import find_images
from codec.system.write_file import write_atomically
from training.data.labels import find_labels, read_labels
from training.data.small_images import box_average
from training.loop.optimise import descend
from training.loop.trainer import Budget, Learner, Preset, Trainer, check_folder, show

FORMAT = "calotype-features-1"
SIDE = 32
PAD = 4


@dataclass(frozen=True)
class FeatureConfig:
    """Sizes: channels of each convolution, features of the last hidden layer, classes."""

    classes: int
    widths: tuple[int, ...] = (32, 64, 128, 192)
    features: int = 128

    def __post_init__(self) -> None:
        """Raise `WeightsMismatchError` for impossible sizes."""
        sizes: tuple[object, ...] = (self.classes, self.features, *self.widths)
        sound = all(isinstance(n, int) and 1 <= n <= 4096 for n in sizes)
        if not 1 <= len(self.widths) <= 5 or not sound:
            raise WeightsMismatchError(f"{self} is not the configuration of a classifier")


class FeatureNetwork(nn.Module):
    """Convolutions that halve the side, a mean over positions, a feature layer, and classes."""

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        channels = 3
        for number, width in enumerate(config.widths):
            if number:
                layers.append(nn.MaxPool2d(2))
            layers += [
                nn.Conv2d(channels, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            channels = width
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.hidden = nn.Linear(channels, config.features)
        self.head = nn.Linear(config.features, config.classes)

    def features(self, images: Tensor) -> Tensor:
        """Images (n, 3, 32, 32) in [−1, 1] to non-negative features (n, features)."""
        return F.relu(self.hidden(self.body(images)))

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, 3, 32, 32) in [−1, 1] to scores of the classes (n, classes)."""
        scores: Tensor = self.head(self.features(images))
        return scores


def to_input(images: Images) -> Tensor:
    """uint8 (n, 3, 32, 32) to the network's input. Raises `UsageError` for other shapes."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (3, SIDE, SIDE):
        raise UsageError(
            f"images of type {images.dtype} and shape {images.shape}, "
            f"expected uint8 (n, 3, {SIDE}, {SIDE})"
        )
    return torch.from_numpy(images.astype(np.float32) / 127.5 - 1)


@torch.inference_mode()
def extract(network: FeatureNetwork, images: Images, *, batch: int = 250) -> Float64Array:
    """Features of images uint8 (n, 3, 32, 32): float64 (n, features)."""
    network.eval()
    parts = [network.features(part) for part in torch.split(to_input(images), batch)]
    return torch.cat(parts).double().numpy()


def save_features(path: Path, network: FeatureNetwork, card: dict[str, str]) -> None:
    """Write a weights file in float16, completely or not at all. Raises `UsageError`."""
    arrays = {}
    for key, value in network.state_dict().items():
        stored = value.half() if value.is_floating_point() else value
        if not bool(torch.isfinite(stored).all()):
            raise UsageError(f"{key} has values that float16 cannot hold")
        arrays[key] = stored.contiguous()
    metadata = {
        "format": FORMAT,
        "config": json.dumps(asdict(network.config)),
        "card": json.dumps(card, ensure_ascii=False),
    }
    data = save(arrays, metadata)
    write_atomically(path, lambda fo: fo.write(data), force=True)


def load_features(path: Path) -> FeatureNetwork:
    """Read a weights file: float32, in evaluation mode. Raises `WeightsMismatchError`."""
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ValueError(f"its format is {metadata.get('format')!r}, expected {FORMAT!r}")
            fields = json.loads(metadata["config"])
            config = FeatureConfig(**{**fields, "widths": tuple(fields["widths"])})
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        network = FeatureNetwork(config)
        network.load_state_dict(
            {k: v.float() if v.is_floating_point() else v for k, v in arrays.items()}
        )
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise WeightsMismatchError(f"{path} is no weights file of a classifier: {error}") from error
    return network.eval()


def read_classes(path: Path) -> tuple[Images, Int64Array, list[str]]:
    """Images uint8 (n, 3, 32, 32), the class number of each image, and the names of the classes.

    path  folder or `.tar` of square pictures of one size, 32 pixels or a multiple, whose files
          are named CLASS_ANYTHING; or a folder with the training images of MNIST and their labels,
          28×28, under their usual names

    Raises `InputError` for other pictures, or fewer than two classes.
    """
    if (labels_file := find_labels(path)) is not None:
        return _read_digits(path, labels_file)
    found, pictures = [], []
    for source in find_images([path]):
        found.append(Path(source.name).stem.partition("_")[0])
        pictures.append(source.pixels())
    names = sorted(set(found))
    if len(names) < 2:
        raise InputError(f"{path}: {len(names)} class; expected files named CLASS_NUMBER")
    side = pictures[0].shape[0]
    if side % SIDE or any(p.shape != (side, side, 3) for p in pictures):
        raise InputError(f"{path}: expected square pictures of one size, a multiple of {SIDE}")
    images = np.stack(pictures).transpose(0, 3, 1, 2)
    labels = np.array([names.index(name) for name in found], dtype=np.int64)
    return box_average(images, side // SIDE), labels, names


def _read_digits(folder: Path, labels_file: Path) -> tuple[Images, Int64Array, list[str]]:
    images, labels = read_images(folder, part="train"), read_labels(labels_file)
    count, _, height, width = images.shape
    if height != width or height > SIDE or (SIDE - height) % 2:
        raise InputError(
            f"{folder}: images of {width}×{height}, expected an even side up to {SIDE}"
        )
    if len(labels) != count:
        raise InputError(f"{labels_file}: {len(labels)} labels for {count} images")
    names = sorted(set(labels.tolist()))
    if len(names) < 2:
        raise InputError(f"{labels_file}: {len(names)} class, expected at least 2")
    margin = ((SIDE - height) // 2,) * 2
    padded = np.pad(images, ((0, 0), (0, 0), margin, margin))
    colour = padded if images.shape[1] == 3 else np.repeat(padded, 3, axis=1)
    numbers = np.searchsorted(names, labels).astype(np.int64)
    return colour, numbers, [str(name) for name in names]


@dataclass(frozen=True)
class FeaturePreset(Preset):
    """A training run of the classifier.

    held_out   number of images on which accuracies are measured
    mirror     mirror half of the images; not for characters, which mirroring changes
    """

    model: FeatureConfig
    _: KW_ONLY
    batch: int = 128
    learning_rate: float = 3e-3
    final_learning_rate: float = 0.0
    warmup_steps: int = 100
    held_out: int = 2000
    mirror: bool = True


class FeatureLearner(Learner):
    """The classifier and its images, uint8 (n, 3, 32, 32), with the class number of each image."""

    family = "features"

    def __init__(
        self, preset: FeaturePreset, images: Images, labels: Int64Array, *, autocast: bool = True
    ) -> None:
        if len(images) < preset.held_out + preset.batch:
            raise UsageError(
                f"{len(images)} images, expected at least {preset.held_out + preset.batch}"
            )
        super().__init__(preset, autocast=autocast, device=None)
        self.preset: FeaturePreset = preset
        order = np.random.default_rng(preset.seed).permutation(len(images))
        self.held, self.kept = torch.from_numpy(order[: preset.held_out]), order[preset.held_out :]
        self.x, self.y = to_input(images), torch.from_numpy(labels)
        self.network = FeatureNetwork(preset.model)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]
        optimizer = torch.optim.AdamW(self.network.parameters(), weight_decay=0.05)
        self.optimizers = {"adamw": optimizer}

    def learn(self, step: int, fraction: float) -> dict[str, float]:
        """One step on the cross-entropy, with labels smoothed by a tenth."""
        preset = self.preset
        epoch, place = divmod(step, len(self.kept) // preset.batch)
        order = np.random.default_rng((preset.seed, epoch)).permutation(self.kept)
        chosen = torch.from_numpy(order[place * preset.batch : (place + 1) * preset.batch])
        rng = np.random.default_rng((preset.seed, epoch, place))
        with self.mixed():
            scores = self.network(_varied(self.x[chosen], rng, preset.mirror))
        loss = F.cross_entropy(scores.float(), self.y[chosen], label_smoothing=0.1)
        descend(loss, self.optimizers["adamw"])
        return {"loss": float(loss.detach())}

    @torch.no_grad()
    def validate(self) -> list[dict[str, float]]:
        """Top-1 and top-5 accuracy on the held-out images."""
        self.eval()
        parts = torch.split(self.x[self.held], 250)
        scores = torch.cat([self.network(part) for part in parts])
        self.train()
        first = scores.topk(min(5, scores.shape[1]), 1).indices
        right = (first == self.y[self.held][:, None]).double()
        return [{"top_1": float(right[:, 0].mean()), "top_5": float(right.sum(1).mean())}]


def _varied(images: Tensor, rng: np.random.Generator, mirror: bool) -> Tensor:
    """The images, each shifted by up to four pixels, and half of them mirrored if `mirror`."""
    padded = F.pad(images, (PAD,) * 4, mode="reflect")
    moves = rng.integers(0, 2 * PAD + 1, (len(images), 2)).tolist()
    moved = [p[:, y : y + SIDE, x : x + SIDE] for p, (y, x) in zip(padded, moves, strict=True)]
    share = 0.5 if mirror else 0.0
    mirrored = torch.from_numpy(rng.random(len(images)) < share)[:, None, None, None]
    found = torch.stack(moved)
    return torch.where(mirrored, found.flip(3), found).contiguous(memory_format=torch.channels_last)


def card_text(path: Path, config: FeatureConfig, facts: dict[str, Any]) -> str:
    """The model card beside a weights file, in Markdown."""
    return f"""# Features of 32×32 images

`{path.name}`: a classifier. The Fréchet distances of the benchmarks are measured
in the {config.features} features of its last hidden layer. They are not comparable with the FID,
which uses another network.

| | |
|---|---|
| trained on | {facts["data"]} |
| licence | {facts["licence"]} |
| network | {len(config.widths)} convolutions 3×3 ({", ".join(map(str, config.widths))}), \
{facts["parameters"]:,} parameters in float16 |
| classes | {config.classes} |
| accuracy on {facts["held_out"]:,} held-out images | {100 * facts["top_1"]:.1f} % first, \
{100 * facts["top_5"]:.1f} % among the first five |
| steps | {facts["steps"]:,} of {facts["batch"]} images |
| command | `{facts["command"]}` |
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="folder or .tar of CLASS_N files, or MNIST's folder",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="weights file to write")
    parser.add_argument("--run", type=Path, help="folder of the run (OUTPUT.run)")
    parser.add_argument("--resume", action="store_true", help="continue from the run's checkpoint")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--held-out", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--data-description", default="not stated")
    parser.add_argument("--licence", default="not stated")


def run(options: argparse.Namespace) -> None:
    """Train the classifier that the command line asks for, and write its weights and card.

    Raises `InputError` for images that cannot be read, `UsageError` without a budget, for too few
    images, or if the run exists already and --resume is not given.
    """
    if (options.minutes is None) == (options.steps is None):
        raise UsageError("give --minutes or --steps, one of them")
    folder = options.run or options.output.with_suffix(".run")
    check_folder(folder, resume=options.resume)
    images, labels, names = read_classes(options.data)
    preset = FeaturePreset(
        FeatureConfig(len(names)),
        batch=options.batch,
        held_out=options.held_out,
        mirror=find_labels(options.data) is None,
    )
    trainer = Trainer(
        FeatureLearner(preset, images, labels),
        folder,
        budget=Budget(options.minutes, options.steps),
    )
    if options.resume:
        trainer.resume()
    (accuracies,) = trainer.run(report=show)
    network = trainer.learner.network
    assert isinstance(network, FeatureNetwork)
    budget = f"--minutes {options.minutes:g}" if options.minutes else f"--steps {options.steps}"
    facts = {
        "data": options.data_description,
        "licence": options.licence,
        "command": f"python -m training features --data {options.data.name} {budget}",
        "parameters": sum(p.numel() for p in network.parameters()),
        "held_out": options.held_out,
        "batch": options.batch,
        "steps": trainer.step,
        **accuracies,
    }
    save_features(options.output, network, {k: str(v) for k, v in facts.items()})
    card = card_text(options.output, preset.model, facts)
    options.output.with_suffix(".md").write_text(card, "utf-8")
    print("{}: {top_1:.1%} / {top_5:.1%}".format(options.output, **accuracies))
