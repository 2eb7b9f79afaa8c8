"""Decoders from files of all kinds, and what is refused before a measurement starts."""

from __future__ import annotations

import pickle
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bitstream.errors import CalotypeError, UsageError, WeightsMismatchError
from codec.priors import GaussianMixture, StandardNormal
from codec.rate_distortion.user_code.adapters import (
    BatchedDecode,
    _open_again,
    from_module,
    load_decoder,
)
from codec.rate_distortion.user_code.load_file import MODULE_PREFIX, UserCodeError

HEADER = """
import torch
from torch import nn
from codec.priors import StandardNormal

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3, 4)
    def forward(self, z):
        return self.linear(z).sigmoid().unflatten(1, (1, 2, 2))

class Prior:
    dim = 3
    def sample(self, count, generator=None):
        return torch.randn(count, 3, generator=generator)
    def log_prob(self, z):
        return -z.square().sum(-1) / 2
"""


def script(path: Path, body: str) -> Path:
    path.write_text(HEADER + body)
    return path


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Sigmoid(), nn.Unflatten(1, (1, 2, 2))).eval()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("def make(): return Net(), StandardNormal(3)", "StandardNormal"),
        ("def make(): return [Net().forward, Prior()]", "_ReloadedPrior"),
        ("class make:\n    prior = Prior()\n    def decode(self, z): return Net()(z)", "_Reloaded"),
        ("class M: pass\nmake = M()\nmake.decoder = Net()\nmake.prior = Prior()", "_Reloaded"),
        (
            "def make():\n    net = Net()\n    net.prior = StandardNormal(3)\n    return net",
            "Stand",
        ),
    ],
)
def test_what_a_factory_may_return(tmp_path: Path, body: str, kind: str) -> None:
    adapter = load_decoder(f"{script(tmp_path / 'model.py', body)}:make")
    assert (adapter.image_shape, adapter.name, adapter.notices) == ((1, 2, 2), "model:make", ())
    assert type(adapter.prior).__name__.startswith(kind)
    z = torch.randn(5, 3, requires_grad=True)
    images = adapter.decode(z)
    assert images.shape == (5, 1, 2, 2)
    (gradient,) = torch.autograd.grad(images.sum(), z)
    assert bool((gradient != 0).all())
    assert adapter.prior.log_prob(adapter.prior.sample(2)).shape == (2,)


@pytest.mark.parametrize("body", ["make = Net()", "make = Net", "def make(): return Net()"])
def test_without_a_prior_its_dimensions_are_asked_for(tmp_path: Path, body: str) -> None:
    spec = f"{script(tmp_path / 'model.py', body)}:make"
    with pytest.raises(UsageError, match=r"brings no prior.*--prior-dim K"):
        load_decoder(spec)
    assert load_decoder(spec, prior_dim=3).prior.dim == 3
    with pytest.raises(UserCodeError, match=r"the decoder failed: RuntimeError: .*mat1 and mat2"):
        load_decoder(spec, prior_dim=4)
    with pytest.raises(UsageError, match="expected at least 1"):
        load_decoder(spec, prior_dim=0)


def test_dimensions_that_are_not_those_of_the_models_prior_are_refused(tmp_path: Path) -> None:
    spec = f"{script(tmp_path / 'model.py', 'def make(): return Net(), StandardNormal(3)')}:make"
    assert load_decoder(spec, prior_dim=3).prior.dim == 3
    with pytest.raises(UsageError, match="its prior has 3 dimensions, --prior-dim 5"):
        load_decoder(spec, prior_dim=5)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "has no 'make'; it defines torch, nn"),
        ("1 / 0", r"ZeroDivisionError: division by zero \(line 20\)"),
        ("def make(:", "SyntaxError"),
        ("make = 3", "make is int, expected a function without arguments"),
        ("def make(a): pass", r"make\(\) failed: TypeError"),
        ("def make():\n    raise KeyError('w.pt')", r"make\(\) failed: KeyError: 'w.pt' \(line 21"),
        ("def make(): return None", "gave NoneType, expected a decoder"),
        ("def make(): return Net(), Prior(), 1", "gave 3 things, expected a decoder or a pair"),
        ("def make(): return Net(), 10", "the prior is int, expected an object with dim"),
        ("def make(): return (lambda z: None), Prior()", "the decoder gave NoneType"),
    ],
)
def test_files_and_factories_that_fail(tmp_path: Path, body: str, message: str) -> None:
    path = script(tmp_path / "model.py", body)
    with pytest.raises(UserCodeError, match=message) as found:
        load_decoder(f"{path}:make")
    assert found.value.exit_code == 5


DECODERS = {
    "lambda z: net(z) * float('nan')": "NaN or infinite values for codes drawn from the prior",
    "lambda z: net(z).detach()": "the decoder has no gradient: it is cut somewhere",
    "lambda z: torch.from_numpy(net(z).detach().numpy())": "the decoder has no gradient",
    "lambda z: (net(z) * 255).round()": "gradient is zero for every code: does it round",
    "lambda z: net(z).long()": "gave torch.int64, expected floating point",
    "lambda z: net(z).sum(0)": r"gave \(1, 2, 2\) for 8 codes \(8, 3\)",
    "lambda z: net(z) + torch.rand(1)": "changes from call to call: .*eval",
    "lambda z: net(z) - net(z).mean(0)": "depends on the rest of the batch",
    "lambda z: z.sign().sqrt().unsqueeze(1)": "NaN or infinite",
    "lambda z: (z - z).abs().sqrt() + net(z).flatten(1)[:, :3]": "gradient with NaN",
}


@pytest.mark.parametrize(("code", "message"), list(DECODERS.items()))
def test_decoders_that_cannot_be_measured(tmp_path: Path, code: str, message: str) -> None:
    path = script(tmp_path / "model.py", f"net = Net()\ndef make(): return ({code}), Prior()")
    with pytest.raises(UserCodeError, match=message):
        load_decoder(f"{path}:make")


PRIORS = {
    "dim = 0": "dim is 0, expected a positive whole number",
    "dim = 'three'": "dim is 'three'",
    "sample = lambda self, n, g=None: torch.randn(n, 2)": r"expected finite \(8, 3\)",
    "sample = lambda self, n: torch.randn(n, 3)": "the prior's sample failed: TypeError",
    "log_prob = lambda self, z: z.detach().sum(-1)": "the prior's log_prob has no gradient",
    "log_prob = lambda self, z: z.sum()": r"log_prob gave \(\)",
    "log_prob = lambda self, z: z.sum(-1).log()": r"log_prob gave \(8,\) with \d of 8 values not",
    "log_prob = lambda self, z: 0.0": "log_prob gave float, expected a torch.Tensor",
}


@pytest.mark.parametrize(("line", "message"), list(PRIORS.items()))
def test_priors_that_cannot_be_used(tmp_path: Path, line: str, message: str) -> None:
    body = f"class Odd(Prior):\n    {line}\ndef make(): return Net(), Odd()"
    with pytest.raises(UserCodeError, match=message):
        load_decoder(f"{script(tmp_path / 'model.py', body)}:make")


def test_values_outside_the_range_of_pixels_are_noticed(tmp_path: Path) -> None:
    body = "def make(): return (lambda z: 4 * Net()(z) - 2), Prior()"
    adapter = load_decoder(f"{script(tmp_path / 'model.py', body)}:make")
    assert "images are 0..1: rescale in the factory" in adapter.notices[0]


def test_neighbours_are_found_and_do_not_meet(tmp_path: Path) -> None:
    before = list(sys.path)
    for folder, size in (("a", 2), ("b", 5)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "neighbour_of_model.py").write_text(f"SIZE = {size}")
        body = (
            "from neighbour_of_model import SIZE\n"
            "def make(): return (lambda z: z.sigmoid().repeat(1, SIZE)), Prior()"
        )
        script(tmp_path / folder / "model.py", body)
    shapes = [load_decoder(f"{tmp_path}/{one}/model.py:make").image_shape for one in "ab"]
    assert shapes == [(6,), (15,)]
    assert sys.path == before
    assert "neighbour_of_model" not in sys.modules
    assert "model" not in sys.modules
    assert sum(name.startswith(MODULE_PREFIX) for name in sys.modules) >= 2


def test_an_edited_file_is_loaded_again(tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    for size in (1, 2):
        script(path, f"def make(): return (lambda z: z.repeat(1, {size})), Prior()")
        assert load_decoder(f"{path}:make").image_shape == (3 * size,)


def test_what_was_loaded_travels_as_a_recipe(tmp_path: Path) -> None:
    # Real processes are tested in test_bound_command.
    path = script(tmp_path / "model.py", "def make(): return Net(), Prior()")
    adapter = load_decoder(f"{path}:make")
    data = pickle.dumps((adapter.decode, adapter.prior))
    assert len(data) < 1000
    for name in [name for name in sys.modules if name.startswith(MODULE_PREFIX)]:
        del sys.modules[name]
    decode, prior = pickle.loads(data)
    z = torch.randn(3, 3)
    assert torch.equal(decode(z), adapter.decode(z))
    assert torch.equal(prior.log_prob(z), adapter.prior.log_prob(z))
    assert pickle.dumps((decode, prior)) == data


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("gone.py:make", UserCodeError, "gone.py: there is no such file"),
        ("gone.py", UsageError, "expected FILE.py:NAME"),
        ("gone.py:a.b", UsageError, "is no model: expected FILE.py:FACTORY"),
        ("gone.pt2", UserCodeError, "there is no such file"),
        ("gone.onnx", UsageError, "is no model: expected FILE.py:FACTORY"),
        ("photo", UsageError, "is no model"),
    ],
)
def test_specs_that_name_nothing(spec: str, error: type[CalotypeError], message: str) -> None:
    with pytest.raises(error, match=message):
        load_decoder(spec, prior_dim=3)


@pytest.mark.parametrize(("suffix", "message"), [(".pt", "is not TorchScript"), (".pt2", "is not")])
def test_files_of_another_kind(tmp_path: Path, suffix: str, message: str) -> None:
    path = tmp_path / f"weights{suffix}"
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(UserCodeError, match=message):
        load_decoder(path, prior_dim=3)


@pytest.mark.parametrize("device", ["abacus", "meta"])
def test_devices_that_cannot_compute(device: str) -> None:
    with pytest.raises(UsageError, match=f"device '{device}' cannot be used"):
        load_decoder("x.pt2", device=device)


def traced(path: Path, module: nn.Module, batch: int, shape: tuple[int, ...] = (3,)) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        jit: Any = torch.jit
        jit.save(jit.trace(module, torch.zeros(batch, *shape)), path)
    return path


class _Fixed(nn.Module):
    """Takes only batches of one size, like careless exports."""

    def __init__(self, batch: int) -> None:
        super().__init__()
        self.network, self.batch = network(), batch

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        images: torch.Tensor = self.network(z).reshape(self.batch, 1, 2, 2)
        return images


def same_images(decode: Any, count: int = 11) -> None:
    """Compare with the network, including gradients."""
    z = torch.randn(count, 3, requires_grad=True)
    expected, found = network()(z), decode(z)
    torch.testing.assert_close(found, expected)
    (a,), (b,) = (torch.autograd.grad(v.square().sum(), z) for v in (expected, found))
    torch.testing.assert_close(b, a)


def test_torchscript(tmp_path: Path) -> None:
    path = traced(tmp_path / "free.pt", network(), batch=4)
    adapter = load_decoder(path, prior_dim=3)
    assert (adapter.name, adapter.image_shape) == ("free", (1, 2, 2))
    same_images(adapter.decode)
    with pytest.raises(UsageError, match="--prior-dim"):
        load_decoder(path)
    with pytest.raises(UserCodeError, match=r"takes no codes .n, 5.*check --prior-dim"):
        load_decoder(path, prior_dim=5)


@pytest.mark.parametrize("batch", [1, 16])
def test_torchscript_of_a_fixed_batch(tmp_path: Path, batch: int) -> None:
    path = traced(tmp_path / "fixed.ts", _Fixed(batch), batch)
    same_images(load_decoder(path, prior_dim=3).decode)
    same_images(load_decoder(path, prior_dim=3).decode, count=33)


def test_torchscript_of_a_batch_that_cannot_be_guessed(tmp_path: Path) -> None:
    path = traced(tmp_path / "fixed.pt", _Fixed(7), 7)
    with pytest.raises(UserCodeError, match="save it with a free batch dimension"):
        load_decoder(path, prior_dim=3)


@pytest.mark.parametrize("limits", [None, (0, None), (2, 8), (4, 4)])
def test_exported_programs(tmp_path: Path, limits: tuple[int, int | None] | None) -> None:
    path = tmp_path / "network.pt2"
    shapes: Any = None
    if limits is not None and limits != (4, 4):
        low, high = limits
        dim: Any = torch.export.Dim
        shapes = ({0: dim("n", min=low, max=high) if high else dim("n")},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(network(), (torch.zeros(4, 3),), dynamic_shapes=shapes)
        torch.export.save(program, path)
    adapter = load_decoder(path)
    assert adapter.prior.dim == 3
    same_images(adapter.decode)
    same_images(adapter.decode, count=1)
    with pytest.raises(UsageError, match=r"takes codes \(n, 3\), not --prior-dim 4"):
        load_decoder(path, prior_dim=4)


class _Spatial(nn.Module):
    """The network with codes of shape (3, 1, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        images: torch.Tensor = self.inner(z.squeeze(3).squeeze(2))
        return images


def test_codes_of_a_shape(tmp_path: Path) -> None:
    body = (
        "class Wide(Net):\n    def forward(self, z): return super().forward(z[:, :, 0, 0])\n"
        "def make(): return Wide(), StandardNormal((3, 1, 1))\n"
        "def bare(): return Wide()"
    )
    spec = script(tmp_path / "m.py", body)
    traced(tmp_path / "n.pt", _Spatial(), 4, (3, 1, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(_Spatial().eval(), (torch.zeros(4, 3, 1, 1),))
        torch.export.save(program, tmp_path / "n.pt2")
    adapters = [
        load_decoder(f"{spec}:make"),
        load_decoder(f"{spec}:bare", prior_dim=(3, 1, 1)),
        load_decoder(tmp_path / "n.pt", prior_dim=(3, 1, 1)),
        load_decoder(tmp_path / "n.pt2"),
        from_module(_Spatial().eval(), StandardNormal((3, 1, 1))),
    ]
    for adapter in adapters:
        assert repr(adapter.prior) == "StandardNormal(3)"
        same_images(adapter.decode, count=6)
    same_images(pickle.loads(pickle.dumps(adapters[0].decode)))
    for path, asked in (("n.pt", "takes no codes .n, 3x2"), ("n.pt2", "codes .n, 3x1x1.*dim 3x2")):
        with pytest.raises(CalotypeError, match=asked):
            load_decoder(tmp_path / path, prior_dim=(3, 2))


def test_batches_are_filled_and_divided() -> None:
    sizes: list[int] = []

    def decode(z: torch.Tensor) -> torch.Tensor:
        sizes.append(len(z))
        return z.square()

    z = torch.randn(10, 2)
    assert torch.equal(BatchedDecode(decode, 3, 4)(z), z.square())
    assert sizes == [4, 4, 3]


def test_our_own_weights(tmp_path: Path) -> None:
    from codec.models.generative.networks import Decoder, Encoder, GenerativeConfig, GenerativeModel
    from codec.models.generative.weights_file import save_generative

    config = GenerativeConfig("vae", "mlp", (1, 4, 4), 3, (8,), likelihood="gaussian")
    mixture = GaussianMixture(torch.ones(2), torch.randn(2, 3), torch.eye(3).expand(2, 3, 3))
    model = GenerativeModel(config, Decoder(config), Encoder(config), mixture, 0.03)
    path = tmp_path / "digits.safetensors"
    save_generative(path, model, half=False)
    adapter = load_decoder(path)
    assert (adapter.image_shape, adapter.name, adapter.variance) == ((1, 4, 4), "digits", 0.03)
    assert isinstance(adapter.prior, GaussianMixture)
    z = torch.randn(2, 3)
    torch.testing.assert_close(adapter.decode(z), model.decoder(z))
    with pytest.raises(UsageError, match="its prior has 3 dimensions, --prior-dim 4"):
        load_decoder(path, prior_dim=4)
    labelled = replace(config, classes=2)
    model = GenerativeModel(labelled, Decoder(labelled), None, StandardNormal(3), 0.03)
    save_generative(path, model)
    with pytest.raises(UsageError, match="sees one of 2 classes"):
        load_decoder(path)
    path.write_bytes(b"nothing")
    with pytest.raises(WeightsMismatchError):
        load_decoder(path)


def test_modules_in_memory_are_not_changed() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Sigmoid())
    with pytest.raises(UserCodeError, match=r"call eval\(\)"):
        from_module(module, StandardNormal(3))
    assert module.training
    adapter = from_module(module.eval(), StandardNormal(3), name="mine")
    assert (adapter.image_shape, adapter.name) == ((4,), "mine")
    assert all(parameter.requires_grad for parameter in module.parameters())


LEAVING = ["import sys; sys.exit(0)", "raise SystemExit", "raise GeneratorExit", "1 / 0"]


@pytest.mark.parametrize("leave", LEAVING)
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{}", r"model.py failed: \w+.* \(line 20\)"),
        ("def make():\n    {}", r"make\(\) failed: \w+.* \(line 21\)"),
        (
            "def make():\n    def f(z):\n        {}\n    return f, Prior()",
            r"the decoder failed: .*22",
        ),
        (
            "class make:\n    decode = Net()\n    @property\n    def prior(self):\n        {}",
            r"reading the parts of make failed: \w+.* \(line 24\)",
        ),
        (
            "class Odd(Prior):\n    @property\n    def dim(self):\n        {}\n"
            "def make(): return Net(), Odd()",
            r"the prior failed: \w+.* \(line 23\)",
        ),
    ],
)
def test_whatever_user_code_raises_is_its_error(
    tmp_path: Path, body: str, message: str, leave: str
) -> None:
    # A SystemExit would end the command as if it had succeeded.
    path = script(tmp_path / "model.py", body.format(leave))
    with pytest.raises(UserCodeError, match=message):
        load_decoder(f"{path}:make")


def test_an_interruption_is_no_error_of_user_code(tmp_path: Path) -> None:
    path = script(tmp_path / "model.py", "def make(): raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_decoder(f"{path}:make")


def test_failures_after_the_trial_are_errors_of_user_code(tmp_path: Path) -> None:
    body = (
        "def few(z):\n"
        "    if len(z) > 100: raise ValueError('at most 100 codes')\n"
        "    return Net()(z)\n"
        "class Few(Prior):\n"
        "    def log_prob(self, z):\n"
        "        if len(z) > 100: raise SystemExit(0)\n"
        "        return super().log_prob(z)\n"
        "    def sample(self, count, generator=None):\n"
        "        return None if count > 300 else super().sample(count, generator)\n"
        "def make(): return few, Few()\n"
    )
    adapter = load_decoder(f"{script(tmp_path / 'model.py', body)}:make")
    with pytest.raises(UserCodeError, match=r"decoder failed: ValueError: at most 100 .*line 21"):
        adapter.decode(adapter.prior.sample(101))
    with pytest.raises(
        UserCodeError, match=r"the prior's log_prob failed: SystemExit: 0 .*line 25"
    ):
        adapter.prior.log_prob(torch.zeros(101, 3))
    with pytest.raises(UserCodeError, match="the prior's sample gave NoneType"):
        adapter.prior.sample(301)


@pytest.mark.parametrize("change", ["z.data.clamp_(-2, 2)", "z.data.mul_(2)"])
def test_a_decoder_may_not_change_its_codes(tmp_path: Path, change: str) -> None:
    body = f"def f(z):\n    {change}\n    return Net()(z)\ndef make(): return f, Prior()"
    with pytest.raises(UserCodeError, match="the decoder changed the codes"):
        load_decoder(f"{script(tmp_path / 'model.py', body)}:make")


def forget_loaded_models() -> None:
    """Put this process in the state of a new worker."""
    _open_again.cache_clear()
    for name in [name for name in sys.modules if name.startswith(MODULE_PREFIX)]:
        del sys.modules[name]


@pytest.mark.parametrize(
    "body",
    [
        "def make():\n"
        "    net = Net()\n"
        "    weights = numpy.random.default_rng().normal(size=(4, 3))\n"
        "    net.linear.weight.data = torch.tensor(weights).float()\n"
        "    return net, Prior()",
        "def make():\n"
        "    prior = Prior()\n"
        "    scale = 1 + numpy.random.default_rng().random()\n"
        "    prior.log_prob = lambda z: -scale * z.square().sum(-1)\n"
        "    return Net(), prior",
    ],
)
def test_another_process_refuses_another_model(tmp_path: Path, body: str) -> None:
    path = script(tmp_path / "model.py", f"import numpy\n{body}")
    adapter = load_decoder(f"{path}:make")
    data = pickle.dumps((adapter.decode, adapter.prior))
    forget_loaded_models()
    # An error while a task is unpickled would end the worker without a message.
    decode, prior = pickle.loads(data)
    assert (prior.dim, repr(prior)) == (3, "Prior(3)")
    message = r"gave another model.*seed every generator.*or load weights from a file"
    for use in (decode, prior.log_prob):
        with pytest.raises(UserCodeError, match=message):
            use(torch.zeros(2, 3))


def test_another_process_accepts_a_prior_with_random_samples(tmp_path: Path) -> None:
    body = (
        "class Unseeded(Prior):\n"
        "    def sample(self, count, generator=None): return torch.randn(count, 3)\n"
        "def make(): return Net(), Unseeded()"
    )
    adapter = load_decoder(f"{script(tmp_path / 'model.py', body)}:make")
    data = pickle.dumps((adapter.decode, adapter.prior))
    forget_loaded_models()
    decode, prior = pickle.loads(data)
    codes = prior.sample(2)
    assert torch.equal(decode(codes), adapter.decode(codes))
