"""Any generative model as a pair (decode, prior) whose rate-distortion curve can be measured.

    spec                  what it is                                          prior
    model.py:factory      function without arguments, see `load_decoder`      its own, or N(0, I)
    weights.safetensors   model of `codec.models.generative.networks`                  in the file
    mnist-convgan         such a file that ships with the library, by name    in the file
    vae-round             model of the catalogue that decodes codes to images its own
    vae-round:rae         the same with other weights                         its own
    network.pt2           `torch.export.save`                                 N(0, I)
    network.pt, .ts       `torch.jit.save` (TorchScript)                      N(0, I)

`decode` and `prior` of a model that was loaded here can be pickled: another process receives the
recipe and loads the model again, so an executor's workers need no importable module.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bitstream.errors import UsageError
from codec import loading
from codec.models.base import GenerativeCodec
from codec.models.catalog import all_models, split_name
from codec.models.weights_files import WEIGHTS_FOLDER
from codec.priors import LatentPrior, StandardNormal, is_normal_or_mixture
from codec.rate_distortion.tensor_checks import decoder_of_flat_codes
from codec.rate_distortion.user_code.load_file import (
    UserCodeError,
    call_factory,
    describe,
    different_model,
    is_object_spec,
    load_object,
    split_object_spec,
    user_code_errors,
)
from codec.rate_distortion.user_code.probe import (
    call_user_code,
    probe_decoder,
    probe_prior,
    same_numbers,
)

Decode = Callable[[torch.Tensor], torch.Tensor]

SCRIPT_SUFFIXES = (".pt", ".ts", ".pth")
TRIED_BATCHES = (8, 1, 16, 20, 32, 64, 100, 128, 256, 512)
"""Batch sizes tried on a TorchScript file, which does not say which sizes it accepts."""

COMPARED_CODES = 4
"""Number of codes whose images tell whether a worker has loaded the same model."""

FORMS = "FILE.py:FACTORY, a .safetensors of this project, a .pt2 of torch.export, or TorchScript"

SHIPPED = ("mnist-convgan", "mnist-convgan-bre")
"""Models whose weights come with the library, in `codec/weights`."""


@dataclass(frozen=True)
class DecoderAdapter:
    """A decoder that passed `probe_decoder`, and its prior.

    decode        z float32 (n, k) to images float (n, *image_shape), differentiable
    prior         p(z), k = prior.dim; for flat codes, whatever shape the model itself takes
    image_shape   shape of one image from `decode`
    name          name for labels
    variance      variance of a pixel given z (pixels 0..1) if the model has a Gaussian likelihood
    notices       sentences about behaviour that is unusual but usable
    """

    decode: Decode
    prior: LatentPrior
    image_shape: tuple[int, ...] | None
    name: str
    variance: float | None = None
    notices: tuple[str, ...] = ()


def load_decoder(
    spec: str | Path, *, device: str = "cpu", prior_dim: int | tuple[int, ...] | None = None
) -> DecoderAdapter:
    """Load and try out a decoder.

    spec        see the table above.  A factory is called without arguments and returns
                (a) a decoder: a module or a function z (n, k) → images (n, *shape); with a prior
                    such as `StandardNormal((4, 7, 7))` it takes codes of that shape;
                (b) a pair (decoder, prior);
                (c) an object with `decode` (or `decoder`) and perhaps `prior`.
                NAME may also be a module or an object of kind (c) itself.
    device      "cpu", "cuda" …; modules are moved there
    prior_dim   for a model without a prior: the dimensions k of a standard normal prior, or the
                shape in which the model takes its codes

    Python files, TorchScript and exported programs run the code of whoever wrote them.

    Raises `UsageError` for a spec of another form, an unusable device, or a missing `prior_dim`;
    `UserCodeError` (a `ModelError`) for anything that is wrong with the model;
    `WeightsMismatchError` for a .safetensors file that is not a model.
    """
    asked = None if prior_dim is None else StandardNormal(prior_dim).shape
    recipe = _Recipe(str(spec), usable_device(device), asked)
    opened = _open(recipe)
    if asked is not None and math.prod(asked) != opened.prior.dim:
        raise UsageError(
            f"{recipe.spec}: its prior has {opened.prior.dim} dimensions, --prior-dim "
            f"{_sizes(asked)}"
        )
    adapter = _probed(opened.decode, opened.prior, opened.name, recipe.device)
    # Kept in the recipe, because a user's prior may draw others in another process.
    codes = probe_prior(adapter.prior, device=recipe.device)[:COMPARED_CODES]
    recipe = replace(recipe, codes=codes.cpu().numpy().tobytes())
    recipe = replace(recipe, answers=_answers(recipe, opened))
    prior = adapter.prior
    if not is_normal_or_mixture(prior):
        prior = _ReloadedPrior(recipe, prior.dim, type(prior).__name__, prior)
    decode = _ReloadedDecode(recipe, adapter.decode)
    return replace(adapter, decode=decode, prior=prior, variance=opened.variance)


def from_module(
    module: Decode | nn.Module, prior: LatentPrior, *, name: str = "decoder", device: str = "cpu"
) -> DecoderAdapter:
    """Wrap a decoder that is already in memory, and try it out.

    module   z float32 (n, k) to images (n, *shape); it is not changed, so call `eval()` first
    prior    p(z)
    device   device of the module's parameters

    Raises `UserCodeError` as `load_decoder` does.  An executor of processes can use the result
    only if `module` itself can be pickled.
    """
    opened = _flat(module, prior, name)
    return _probed(opened.decode, opened.prior, name, usable_device(device))


def generative_codec(name: str) -> GenerativeCodec:
    """The model of the catalogue; raises `UsageError` if it does not decode codes to images."""
    model = loading.load_model(name, device="cpu")
    if not isinstance(model, GenerativeCodec):
        raise UsageError(
            f"{name!r} is no model whose decoder is measured: it draws no images of codes with a "
            f"density p(z); expected {FORMS}, or another name"
        )
    return model


def usable_device(device: str) -> str:
    """`device`, with "auto" resolved; raises `UsageError` if torch cannot use it."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        # Some devices hold tensors but compute no values ("meta").
        float(torch.randn(1, device=device, generator=torch.Generator(device=device)))
    except Exception as error:
        raise UsageError(
            f"device {device!r} cannot be used; give 'auto', 'cpu' or 'cuda' ({describe(error)})"
        ) from error
    return device


class BatchedDecode:
    """Makes a decoder that takes between `lowest` and `highest` codes at a time take any number.

    Larger batches are divided; smaller ones are padded with copies of their last code, whose
    images are dropped.
    """

    def __init__(self, decode: Decode, lowest: int, highest: int) -> None:
        self._decode = decode
        self.lowest, self.highest = lowest, highest

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        """Float (n, k) to (n, *shape)."""
        step = self.highest
        return torch.cat([self._some(z[i : i + step]) for i in range(0, len(z), step)])

    def _some(self, z: torch.Tensor) -> torch.Tensor:
        missing = self.lowest - len(z)
        if missing <= 0:
            return self._decode(z)
        filled = torch.cat([z, z[-1:].expand(missing, *z.shape[1:])])
        return self._decode(filled)[: len(z)]


@dataclass(frozen=True)
class _Recipe:
    """How to load a model again, and how to tell whether it is the same one.

    codes     float32 (n, k) as bytes, in which they can be hashed and take little space
    answers   what the model says about the codes, see `_answers`
    """

    spec: str
    device: str
    prior_dim: tuple[int, ...] | None
    codes: bytes = b""
    answers: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True)
class _Opened:
    decode: Decode
    prior: LatentPrior
    name: str
    variance: float | None = None


class _ReloadedDecode:
    """A decoder that another process loads when it first decodes.

    It is not loaded while it is unpickled, because an error there would end a pool's worker
    without a message.
    """

    def __init__(self, recipe: _Recipe, decode: Decode | None = None) -> None:
        self._recipe, self._decode = recipe, decode

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        if self._decode is None:
            self._decode = _open_again(self._recipe).decode
        return call_user_code("the decoder", self._decode, z)

    def __reduce__(self) -> tuple[Any, ...]:
        return _ReloadedDecode, (self._recipe,)


class _ReloadedPrior:
    """A prior that another process loads when it first uses it."""

    def __init__(
        self, recipe: _Recipe, dim: int, kind: str, prior: LatentPrior | None = None
    ) -> None:
        self._recipe, self.dim, self._kind, self._prior = recipe, dim, kind, prior

    def sample(self, count: int, generator: torch.Generator | None = None) -> torch.Tensor:
        return call_user_code("the prior's sample", self._loaded().sample, count, generator)

    def log_prob(self, z: torch.Tensor) -> torch.Tensor:
        return call_user_code("the prior's log_prob", self._loaded().log_prob, z)

    def _loaded(self) -> LatentPrior:
        if self._prior is None:
            self._prior = _open_again(self._recipe).prior
        return self._prior

    def __reduce__(self) -> tuple[Any, ...]:
        return _ReloadedPrior, (self._recipe, self.dim, self._kind)

    def __repr__(self) -> str:
        return f"{self._kind}({self.dim})"


@lru_cache(maxsize=8)
def _open_again(recipe: _Recipe) -> _Opened:
    """The model of a recipe; in a worker, one load serves all tasks.

    Raises `UserCodeError` if it is not the model that the recipe was made for.
    """
    opened = _open(recipe)
    if not all(map(same_numbers, recipe.answers, _answers(recipe, opened))):
        raise UserCodeError(different_model(recipe.spec, "model"))
    return opened


def _answers(recipe: _Recipe, opened: _Opened) -> tuple[tuple[float, ...], ...]:
    """The images of the recipe's codes, projected on a random direction, and their log p(z)."""
    flat = torch.frombuffer(bytearray(recipe.codes), dtype=torch.float32)
    codes = flat.view(COMPARED_CODES, -1).to(recipe.device)
    with torch.no_grad():
        images = call_user_code("the decoder", opened.decode, codes).flatten(1).double().cpu()
        densities = call_user_code("the prior's log_prob", opened.prior.log_prob, codes)
    direction = torch.randn(
        images.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    return tuple((images @ direction).tolist()), tuple(densities.double().tolist())


def _open(recipe: _Recipe) -> _Opened:
    if is_object_spec(recipe.spec):
        return _from_python(recipe)
    path = Path(recipe.spec)
    if recipe.spec in SHIPPED:
        path = WEIGHTS_FOLDER / f"{recipe.spec}.safetensors"
    suffix = path.suffix.lower()
    if suffix == ".py":
        split_object_spec(recipe.spec)
    openers = {".safetensors": _from_weights, ".pt2": _from_program}
    openers |= dict.fromkeys(SCRIPT_SUFFIXES, _from_script)
    if not suffix and split_name(recipe.spec)[0] in {model.name for model in all_models()}:
        return _from_catalogue(recipe)
    if suffix not in openers:
        names = ", ".join(SHIPPED)
        raise UsageError(f"{recipe.spec!r} is no model: expected {FORMS}, or one of {names}")
    if not path.is_file():
        raise UserCodeError(f"{path}: there is no such file")
    return openers[suffix](recipe, path)


def _probed(decode: Decode, prior: LatentPrior, name: str, device: str) -> DecoderAdapter:
    z = probe_prior(prior, device=device)
    shape, notices = probe_decoder(decode, z)
    return DecoderAdapter(decode, prior, shape, name, notices=tuple(notices))


def _flat(decode: Decode, prior: LatentPrior, name: str, variance: float | None = None) -> _Opened:
    """The model with flat codes."""
    flat = decoder_of_flat_codes(decode, prior)
    if flat is not decode:
        prior = StandardNormal(prior.dim)
    return _Opened(flat, prior, name, variance)


def _normal(recipe: _Recipe) -> StandardNormal:
    if recipe.prior_dim is None:
        raise UsageError(
            f"{recipe.spec}: brings no prior; give the number of code dimensions for a standard "
            "normal one (--prior-dim K, or 4x7x7), or let a factory return (decoder, prior)"
        )
    return StandardNormal(recipe.prior_dim)


def _from_python(recipe: _Recipe) -> _Opened:
    path, name = split_object_spec(recipe.spec)
    found = load_object(path, name)
    # Parts of a user's object may be properties, which run the user's code.
    with user_code_errors(f"{path}: reading the parts of {name}"):
        is_model = isinstance(found, nn.Module) or (
            not isinstance(found, type) and _part(found, "decode", "decoder") is not None
        )
        made = found if is_model else call_factory(path, name, found)
        decode, prior = _divide(made, f"{path}: {name}()")
        variance = getattr(made, "variance", None)
    variance = variance if isinstance(variance, float) else None
    with user_code_errors(f"{path}: moving {name} to {recipe.device}"):
        if isinstance(decode, nn.Module):
            decode.to(recipe.device)
        elif isinstance(made, nn.Module):
            made.to(recipe.device)
        if isinstance(prior, nn.Module):
            prior.to(recipe.device)
    prior = _normal(recipe) if prior is None else prior
    return _flat(decode, prior, f"{path.stem}:{name}", variance)


def _divide(made: object, origin: str) -> tuple[Decode, Any]:
    """Decoder and prior (or None) from what a factory returned."""
    prior: object
    if isinstance(made, (tuple, list)):
        if len(made) != 2:
            raise UserCodeError(
                f"{origin} gave {len(made)} things, expected a decoder or a pair (decoder, prior)"
            )
        decode, prior = made
        inner = _part(decode, "decode")
        decode = decode if inner is None else inner
    else:
        decode = _part(made, "decode", "decoder")
        prior = getattr(made, "prior", None)
        if decode is None:
            decode = made
    if not callable(decode):
        raise UserCodeError(
            f"{origin} gave {type(made).__name__}, expected a decoder (module or function), "
            "a pair (decoder, prior), or an object with decode and prior"
        )
    return decode, prior


def _part(value: object, *names: str) -> Any:
    for name in names:
        part = getattr(value, name, None)
        if callable(part):
            return part
    return None


def _from_catalogue(recipe: _Recipe) -> _Opened:
    decode, prior = generative_codec(recipe.spec).decoder_of_codes()
    if isinstance(decode, nn.Module):
        decode = copy.deepcopy(decode).eval().requires_grad_(False).to(recipe.device)
    return _Opened(decode, prior, recipe.spec)


def _from_weights(recipe: _Recipe, path: Path) -> _Opened:
    from codec.models.generative.weights_file import load_generative

    model = load_generative(path)
    if model.config.classes:
        raise UsageError(
            f"{path}: its decoder sees one of {model.config.classes} classes besides the code; "
            "write a factory that returns the decoder of one, load_generative(path)"
            ".decoder.given(label)"
        )
    decoder = model.decoder.eval().requires_grad_(False).to(recipe.device)
    return _Opened(decoder, model.prior, path.stem, model.variance)


def _from_script(recipe: _Recipe, path: Path) -> _Opened:
    prior = _normal(recipe)
    try:
        with warnings.catch_warnings():
            # Loading is deprecated in favour of torch.export, but such files are still common.
            warnings.simplefilter("ignore")
            load: Any = torch.jit.load
            module = load(path, map_location=recipe.device)
    except Exception as error:
        raise UserCodeError(
            f"{path}: is not TorchScript; a checkpoint of torch.save holds weights without their "
            f"network: write a factory, FILE.py:FACTORY ({describe(error)})"
        ) from error
    module = module.eval()
    failure = ""
    for batch in TRIED_BATCHES:
        z = torch.zeros(batch, *prior.shape, device=recipe.device)
        try:
            with torch.no_grad():
                images = module(z)
        except RuntimeError as error:
            failure = failure or describe(error)
            continue
        if isinstance(images, torch.Tensor) and images.ndim > 1 and len(images) == batch:
            first = batch == TRIED_BATCHES[0]
            decode = module if first else BatchedDecode(module, batch, batch)
            return _flat(decode, prior, path.stem)
    raise UserCodeError(
        f"{path}: takes no codes (n, {_sizes(prior.shape)}) for n in "
        f"{', '.join(map(str, TRIED_BATCHES))}: "
        f"{failure or 'its images do not have the batch first'}; "
        "check --prior-dim, or save it with a free batch dimension"
    )


def _from_program(recipe: _Recipe, path: Path) -> _Opened:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.load(path)
            module = program.module()
    except Exception as error:
        raise UserCodeError(f"{path}: is not of torch.export ({describe(error)})") from error
    inputs = [
        node.meta.get("val")
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in program.graph_signature.user_inputs
    ]
    if len(inputs) != 1 or not isinstance(inputs[0], torch.Tensor) or inputs[0].ndim < 2:
        raise UserCodeError(f"{path}: takes {len(inputs)} inputs, expected one tensor (n, k)")
    batch: Any
    dims: Any
    batch, *dims = inputs[0].shape
    if not all(isinstance(dim, int) for dim in dims):
        prior = _normal(recipe)
    elif recipe.prior_dim in (None, tuple(dims)):
        prior = StandardNormal(dims)
    else:
        raise UsageError(
            f"{path}: takes codes (n, {_sizes(dims)}), not --prior-dim {_sizes(recipe.prior_dim)}"
        )
    decode: Decode = module.to(recipe.device)
    lowest, highest = _program_batches(program, batch)
    if lowest > 1 or highest is not None:
        decode = BatchedDecode(decode, lowest, highest or 2**31)
    return _flat(decode, prior, path.stem)


def _sizes(shape: Sequence[int] | None) -> str:
    return "x".join(map(str, shape or ()))


def _program_batches(program: Any, batch: Any) -> tuple[int, int | None]:
    """Smallest and largest batch of an exported program; None if there is no largest."""
    if isinstance(batch, int):
        return batch, batch
    limits = program.range_constraints.get(batch.node.expr)
    if limits is None:
        return 1, None
    highest = limits.upper
    # An infinite upper end is a symbol of its own that compares with numbers.
    return max(1, int(limits.lower)), int(highest) if highest < 2**31 else None
