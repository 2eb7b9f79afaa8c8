"""`calotype bound`, and `calotype plot` on its results, with images of eight pixels."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import codec
from bitstream.errors import UsageError
from codec.cli import app
from codec.cli.bound import parse_betas, parse_code_shape, read_data
from codec.rate_distortion.annealing.tasks import Task
from codec.rate_distortion.ladder.ladder import Ladder
from codec.rate_distortion.ladder.model_file import (
    ModelResult,
    read_model_result,
    write_model_result,
)
from codec.rate_distortion.ladder.result_schema import check_content
from tests.codec.rate_distortion.ladder.test_ladder import gap_table
from tests.codec.rate_distortion.made_up_models import ladder, model_result

MODEL = """
import torch
from torch import nn
from codec.priors import StandardNormal

class Prior:
    dim = 2
    def sample(self, count, generator=None):
        return torch.randn(count, 2, generator=generator)
    def log_prob(self, z):
        return -z.square().sum(-1) / 2

class Net(nn.Module):
    def __init__(self, pixels=(1, 2, 4)):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.pixels = nn.Linear(2, 8), pixels
    def forward(self, z):
        return self.linear(z).sigmoid().unflatten(1, self.pixels)

def model(): return Net(), Prior()
def flat(): return Net((8,)), StandardNormal(2)
def bare(): return Net()
def large(): return Net((1, 4, 2)), StandardNormal(2)
def broken(): return (lambda z: Net()(z) * float("nan")), StandardNormal(2)
def failing(): raise FileNotFoundError("weights.pt")

class Loud(StandardNormal):
    def log_prob(self, z): return -z.square().sum(-1) / 2
def loud(): return Net(), Loud(2)

class StiffPrior(Prior):
    def log_prob(self, z): return super().log_prob(z).detach()
def stiff(): return Net(), StiffPrior()

class Absolute:
    name, convention = "sum of absolute errors", "sum over all samples, pixels 0..1"
    def __call__(self, x, y): return (x - y).abs().flatten(1).sum(1)
class Rounded(Absolute):
    def __call__(self, x, y): return super().__call__(x, y.round())
class Detached(Absolute):
    def __call__(self, x, y): return super().__call__(x, y.detach())
class Silent(Absolute):
    convention = "absolute errors"
class Named(Absolute):
    name = "[/b] of absolute errors"
class Backwards(Absolute):
    convention = "sum over all samples, pixels 1..0"
nothing = None
"""
FAST = ("--images", "6", "--temperatures", "30", "--chains", "4", "--betas", "0.1:30:5")
FILES = ["bound.csv", "bound.html", "bound.json", "bound.png", "bound.svg"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("m.py").write_text(MODEL)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 2, 4), dtype=np.uint8)
    np.savez("data.npz", images=images)
    np.savez("one.npz", images=images[:1])
    np.savez("nan.npz", images=np.full((12, 2, 4), np.nan))
    return tmp_path


def call(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, " ".join(result.stderr.split())


@pytest.mark.usefixtures("folder")
def test_all_results_and_pictures_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("COLUMNS", "120")
    status, stdout, _ = call("bound", "m.py:model", "--data", "data.npz", "-o", "out", *FAST)
    assert status == 0
    for words in (
        "m:model on data (6 of 12, evenly spaced)", "bits per image", "95 % interval",
        "gap in nats", "certified", "sum over all samples of an image, pixels 0..1",
    ):  # fmt: skip
        assert words in stdout
    assert sorted(path.name for path in Path("out").iterdir()) == FILES
    content = json.loads(Path("out/bound.json").read_text())
    assert check_content(content) == "calotype.model_curve/1"
    assert (content["rate_unit"], content["distortion_reduction"]) == ("nats per image", "sum")
    assert (content["pixel_range"], content["image_shape"]) == ([0, 1], [1, 2, 4])
    assert content["selection"] == "6 of 12, evenly spaced"
    result = read_model_result(Path("out/bound.json"))
    assert isinstance(result, ModelResult)
    rows = list(csv.DictReader(Path("out/bound.csv").read_text().splitlines()))
    assert [float(row["beta"]) for row in rows] == pytest.approx(result.curve.beta)
    assert result.curve.beta == pytest.approx(np.geomspace(0.1, 30, 5))

    assert call("bound", "m.py:model", "--data", "data.npz", "-o", "out", *FAST)[0] == 6

    # Another process loads the file again and gets the same result.
    again = ("bound", "m.py:model", "--data", "data.npz", "-o", "two", "-j", "2", "--json", *FAST)
    status, stdout, _ = call(*again, "--no-certify")
    summary = json.loads(stdout)
    assert (status, list(summary)) == (0, ["schema", "written", "notices", "result"])
    assert summary["schema"] == "calotype.bound_summary/1"
    assert summary["result"]["rate_nats"] == pytest.approx(result.curve.rate_nats, rel=1e-3)

    status, stdout, _ = call("plot", "out/bound.json", "two/bound.json", "-o", "both.html")
    assert (status, stdout) == (0, "both.html: 2 curves\n")
    assert "m:model (2)" in Path("both.html").read_text("utf-8")


@pytest.mark.usefixtures("folder")
def test_a_run_that_was_interrupted_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("bound", "m.py:flat", "--data", "data.npz", "-o", "out", *FAST)
    whole, left, calls = Task.__call__, 2, 0

    def interrupted(task: Task) -> Any:
        nonlocal calls
        calls += 1
        if calls > left:
            raise KeyboardInterrupt
        return whole(task)

    monkeypatch.setattr(Task, "__call__", interrupted)
    status, _, stderr = call(*command, "--resume")
    assert (status, "nothing to resume in" in stderr) == (130, True)
    assert "blocks are kept in out/unfinished: run the same command with --resume" in stderr
    assert [path.name for path in Path("out").iterdir()] == ["unfinished"]
    assert len(list(Path("out/unfinished").glob("*.npz"))) == 2
    left, calls = 100, 0
    status, _, stderr = call(*command, "--resume")
    assert status == 0
    assert re.search(r"resuming: [1-9]\d? ?% of the measurement was done before", stderr)
    resumed, made = read_model_result(Path("out/bound.json")), calls
    assert "unfinished" not in [path.name for path in Path("out").iterdir()]
    # Without the option everything is computed again, with the same result.
    calls = 0
    assert call(*command, "-f")[0] == 0
    assert calls == made + 2
    assert read_model_result(Path("out/bound.json")) == resumed


@pytest.mark.usefixtures("folder")
def test_blocks_of_another_run_are_not_reused(monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("bound", "m.py:flat", "--data", "data.npz", "-o", "out", *FAST)
    whole, calls = Task.__call__, 0

    def interrupted(task: Task) -> Any:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise KeyboardInterrupt
        return whole(task)

    with monkeypatch.context() as patch:
        patch.setattr(Task, "__call__", interrupted)
        assert call(*command)[0] == 130
    status, _, stderr = call(*command, "--resume", "--seed", "1")
    assert (status, "run with other options (seed 0, now 1)" in stderr) == (2, True)
    status, _, stderr = call(*command)
    assert (status, "--resume continues it, and -f discards" in stderr) == (6, True)
    assert len(list(Path("out/unfinished").glob("*.npz"))) == 2
    Path("m.py").write_text(MODEL.replace("manual_seed(0)", "manual_seed(1)"))
    status, _, stderr = call(*command, "--resume")
    assert (status, "of another model" in stderr) == (0, True)
    assert not Path("out/unfinished").exists()


@pytest.mark.usefixtures("folder")
def test_names_are_not_taken_for_markup() -> None:
    status, stdout, _ = call(
        "bound", "m.py:flat", "--data", "data.npz", "-o", "out[bold]", *FAST, "--no-certify",
        "--distortion", "m.py:Named", "--name", "[/x]",
    )  # fmt: skip
    assert status == 0
    for words in ("[/x] on data", "[/b] of absolute errors", "written: out[bold]/bound.json"):
        assert words in stdout


@pytest.mark.usefixtures("folder")
def test_a_prior_of_a_changed_density_gets_no_local_reference() -> None:
    run = ("--data", "data.npz", *FAST)
    assert call("bound", "m.py:loud", *run, "-o", "loud")[0] == 0
    assert call("bound", "m.py:model", *run, "-o", "model")[0] == 0
    loud, model = (json.loads(Path(f"{name}/bound.json").read_text()) for name in ("loud", "model"))
    # Its log_prob lacks a constant, which only local references would need.
    assert set(loud["reference"]) == {"prior"}
    assert loud["rate_nats"] == pytest.approx(model["rate_nats"], abs=0.3)


@pytest.mark.usefixtures("folder")
def test_a_second_run_in_the_same_folder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("bound", "m.py:flat", "--data", "data.npz", "-o", "out", *FAST)
    whole = Task.__call__
    answers: list[tuple[int, str, str]] = []

    def another_begins(task: Task) -> Any:
        if not answers:
            answers.append(call(*command))
        return whole(task)

    monkeypatch.setattr(Task, "__call__", another_begins)
    assert call(*command)[0] == 0
    status, _, stderr = answers[0]
    assert (status, "is of a run that has not ended" in stderr) == (6, True)


@pytest.mark.usefixtures("folder")
def test_an_interruption_while_results_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("bound", "m.py:flat", "--data", "data.npz", "-o", "out", *FAST)

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("codec.rate_distortion.report.figure.draw_picture", interrupted)
        status, _, stderr = call(*command)
    assert (status, "run the same command with --resume to continue" in stderr) == (130, True)
    assert Path("out/bound.json").exists()
    status, _, stderr = call(*command, "--resume")
    assert (status, "resuming: 100% of the measurement was done before" in stderr) == (0, True)
    assert Path("out/bound.html").exists()


@pytest.mark.usefixtures("folder")
def test_a_curve_of_which_no_point_passed_is_written_but_fails() -> None:
    # Two chains and one temperature cannot cross a range of β as wide as this.
    hopeless = ("--temperatures", "1", "--chains", "2", "--betas", "1e4:1e5:2", "--images", "6")
    status, stdout, stderr = call(
        "bound", "m.py:model", "--data", "data.npz", "-o", "out", "--reference", "prior", *hopeless
    )
    assert status == 1
    assert "no point passed its checks: the results in out may be far too high" in stderr
    assert "Raise --temperatures (now 1) or --chains (now 2), or lower the largest beta" in stderr
    assert "written: out/bound.json" in stdout
    result = read_model_result(Path("out/bound.json"))
    assert isinstance(result, ModelResult)
    assert result.curve.certified == (False, False)
    assert all(result.curve.failures)


@pytest.mark.usefixtures("folder")
def test_a_table_of_eighty_columns_cuts_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    data = ("--data", "data.npz", "-o", "out", *FAST, "--betas", "0.1:30:20")
    status, stdout, _ = call("bound", "m.py:flat", *data, "--no-certify")
    assert status == 0
    assert "12 of 20 points, all are in bound.csv" in " ".join(stdout.split())
    rows = [line for line in stdout.splitlines() if line.count("│") == 8]
    assert len(rows) == 12
    for row in rows:
        assert re.fullmatch(
            r"│ +[\d.]+ │ +[\d.]+ │ +[\d.]+ │ +[\d.]+–[\d.]+ │ +[\d.]+ │ +— │ +no │", row
        )


@pytest.mark.usefixtures("folder")
def test_a_quick_run_is_a_small_one() -> None:
    few = ("--chains", "4", "--temperatures", "20")
    assert call("bound", "m.py:flat", "--data", "data.npz", "-o", "out", "--quick", *few)[0] == 0
    content = json.loads(Path("out/bound.json").read_text())
    assert (content["images"], len(content["beta"]), content["chains"]) == (12, 12, 4)
    assert set(content["reference"]) <= {"local", "prior"}


@pytest.mark.usefixtures("folder")
def test_flat_images_own_distortion_and_no_certificate() -> None:
    status, _, stderr = call(
        "bound", "m.py:flat", "--data", "data.npz", "-o", "out", "--no-certify",
        "--distortion", "m.py:Absolute", "--name", "Flat", *FAST, "--images", "100",
    )  # fmt: skip
    assert status == 0
    assert "data.npz has 12 images: all of them are measured" in stderr
    assert "5 of 5 points are not certified" in stderr
    assert re.search(r"this may take (between \d+ \w+ and )?\d+ \w+; each phase", stderr)
    assert "annealed from the prior alone: sum of absolute errors is not a sum of squares" in stderr
    content = json.loads(Path("out/bound.json").read_text())
    assert content["notices"] == ["data.npz has 12 images: all of them are measured"]
    page = Path("out/bound.html").read_text("utf-8")
    assert "<p>Flat: data.npz has 12 images: all of them are measured</p>" in page
    assert (content["model"], content["image_shape"]) == ("Flat", [8])
    assert content["distortion_name"] == "sum of absolute errors"
    assert content["selection"] == "all 12 images"
    assert content["prior"] == "StandardNormal(2)"


BAD = {
    ("m.py:broken",): (5, "NaN or infinite values for codes drawn from the prior"),
    ("m.py:stiff",): (5, "the prior's log_prob has no gradient"),
    ("m.py:failing",): (5, r"m.py: failing() failed: FileNotFoundError: weights.pt (line 26)"),
    ("m.py:gone",): (5, "m.py: has no 'gone'"),
    ("gone.py:model",): (5, "gone.py: there is no such file"),
    ("gone.safetensors",): (5, "there is no such file"),
    ("m.py:bare",): (2, "--prior-dim K"),
    ("photograph",): (2, "'photograph' is no model: expected FILE.py:FACTORY"),
    ("photo",): (2, "'photo' is no model whose decoder is measured"),
    ("m.py:model", "--files", "vae-round"): (2, "'m.py:model' writes no files"),
    ("vae-round", "--files", "dplc"): (2, "another decoder than 'vae-round'"),
    ("m.py:model", "--qualities", "0,50"): (2, "qualities '0,50': expected numbers in 1..100"),
    ("m.py:large",): (3, "have the shape (1, 2, 4), expected (1, 4, 2) (channels, height, width)"),
    ("m.py:bare", "--prior-dim", "2x"): (2, "such as 4x7x7"),
    ("m.py:bare", "--prior-dim", "3"): (5, "the decoder failed: RuntimeError"),
    ("m.py:model", "--data", "one.npz"): (2, "an interval over images needs at least 2"),
    ("m.py:model", "--data", "nan.npz"): (3, "floats from nan to nan; expected values in 0..1"),
    ("m.py:model", "--data", "gone.npz"): (3, "does not exist"),
    ("m.py:model", "--part", "middle"): (2, "part 'middle' is unknown"),
    ("m.py:model", "--images", "1"): (2, "--images"),
    ("m.py:model", "--betas", "0:10:5"): (2, "cannot start at 0; there the rate is 0"),
    ("m.py:model", "--betas", "1:10"): (2, "expected LOW:HIGH:COUNT"),
    ("m.py:model", "--distortion", "lpips"): (2, "distortion 'lpips' is unknown"),
    ("m.py:model", "--distortion", "nll"): (2, "needs the variance of a Gaussian likelihood"),
    ("m.py:model", "--distortion", "m.py:Rounded"): (5, "zero gradient everywhere"),
    ("m.py:model", "--distortion", "m.py:Detached"): (5, "sum of absolute errors has no gradient"),
    ("m.py:model", "--distortion", "m.py:Silent"): (2, 'it has to say "sum" or "mean"'),
    ("m.py:model", "--distortion", "m.py:nothing"): (5, "nothing is NoneType"),
    ("m.py:model", "--distortion", "m.py:bare"): (5, "expected a distortion"),
    ("m.py:model", "--name", " "): (2, "missing or unusable: model; --name gives"),
    ("m.py:model", "--name", "\udcff"): (2, "cannot be written: 'utf-8' codec"),
    ("m.py:model", "--distortion", "m.py:Backwards"): (2, "missing or unusable: pixel_range"),
    ("m.py:model", "--device", "abacus"): (2, "device 'abacus' cannot be used"),
}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("arguments", list(BAD), ids=" ".join)
def test_what_cannot_be_measured_is_told_before_anything_is_written(
    arguments: tuple[str, ...],
) -> None:
    wanted, message = BAD[arguments]
    data = () if "--data" in arguments else ("--data", "data.npz")
    status, stdout, stderr = call("bound", *FAST, *arguments, *data, "-o", "out")
    assert (status, stdout) == (wanted, "")
    assert message in stderr
    assert not Path("out").exists()


@pytest.mark.usefixtures("folder")
def test_an_output_that_cannot_be_a_folder_is_told_before_the_measurement() -> None:
    for output in ("m.py", "m.py/deeper"):
        status, _, stderr = call("bound", "gone.py:x", "--data", "data.npz", "-o", output)
        assert (status, "m.py is not a folder" in stderr) == (6, True)


def test_betas() -> None:
    assert parse_betas("0.1:1000:5") == pytest.approx((0.1, 1, 10, 100, 1000))
    assert parse_betas("1:3:2") == (1.0, 3.0)


def test_shapes_of_codes() -> None:
    assert [parse_code_shape(text) for text in ("10", "4x7x7", "4×7")] == [(10,), (4, 7, 7), (4, 7)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1:2",
        "1:2:1",
        "2:1:5",
        "-1:1:5",
        "1:inf:5",
        "nan:1:5",
        "1:2:3.5",
        "0:1:9",
        "1e-300:1:5",
        "1:1e300:5",
    ],
)
def test_betas_that_make_no_sense(text: str) -> None:
    with pytest.raises(UsageError, match="betas '"):
        parse_betas(text)


@pytest.mark.usefixtures("folder")
def test_images_are_spread_over_the_data() -> None:
    with np.load("data.npz") as data:
        images = data["images"]
    x, total = read_data(Path("data.npz"), "test", 3, (1, 2, 4))
    assert (total, x.shape) == (12, (3, 1, 2, 4))
    np.testing.assert_allclose(x[1, 0].numpy(), images[6] / np.float32(255), rtol=1e-6)
    assert read_data(Path("data.npz"), "test", 99, None)[0].shape == (12, 1, 2, 4)
    for index in range(2):
        Image.fromarray(images[index]).save(f"{index}.png")
    assert read_data(Path(), "test", 9, (2, 4))[0].shape == (2, 2, 4)
    np.save("floats.npy", images / 255)
    floats, _ = read_data(Path("floats.npy"), "test", 3, (1, 2, 4))
    np.testing.assert_allclose(floats.numpy(), x.numpy(), rtol=1e-6)


def test_files_beside_the_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    y, x = np.mgrid[:28, :28]
    radii = np.linspace(4, 10, 7)[:, None, None]
    images = np.where(abs(np.hypot(y - 14, x - 14) - radii) < 2, 220, 0).astype(np.uint8)
    np.savez("rings.npz", images=images)
    status, stdout, _ = call(
        "bound", "vae-round", "--data", "rings.npz", "--files", "vae-round,vae-dither",
        "--qualities", "40,80", "--temperatures", "10", "--chains", "4", "--betas", "0.02:1:3",
        "--no-certify", "--json", "-o", "out",
    )  # fmt: skip
    assert status == 0
    rows = json.loads(stdout)["files"]
    assert [(row["model"], row["quality"]) for row in rows] == [
        ("vae-round", 40), ("vae-round", 80), ("vae-dither", 40), ("vae-dither", 80),
    ]  # fmt: skip
    sheet = np.zeros((84, 84), np.uint8)  # 3 × 3 images, two of which are black
    for index, image in enumerate(images):
        row, column = divmod(index, 3)
        sheet[28 * row : 28 * row + 28, 28 * column : 28 * column + 28] = image
    data = codec.compress(sheet, model="vae-round", quality=40)
    assert rows[0]["file_bits"] == pytest.approx(8 * len(data) / 7)
    assert rows[0]["header_bits"] + rows[0]["payload_bits"] == rows[0]["file_bits"]
    wrong = (codec.decompress(data, as_="numpy") / 255 - sheet / 255)[:56]  # the whole rows
    wrong_last = (codec.decompress(data, as_="numpy") / 255 - sheet / 255)[56:, :28]
    errors = (wrong**2).sum() + (wrong_last**2).sum()
    assert rows[0]["distortion"] == pytest.approx(errors / 7, rel=1e-4)
    found = read_model_result(Path("out/ladder.json"))
    assert isinstance(found, Ladder)
    assert [rung.name for rung in found.rungs] == [
        "R_p by annealing", "vae-round: bytes", "vae-dither: bytes",
    ]  # fmt: skip
    assert found.image_shape == (1, 28, 28)
    for row in rows:
        if row["rate_bits"] is not None:
            assert row["gap_bits"] == pytest.approx(row["file_bits"] - row["rate_bits"])


def write(result: Any, name: str) -> str:
    write_model_result(Path(name), result)
    return name


@pytest.mark.usefixtures("folder")
def test_plot_draws_what_bound_prints() -> None:
    curve = write(model_result("GAN"), "gan.json")
    summary = {"schema": "calotype.bound_summary/1", "result": json.loads(Path(curve).read_text())}
    Path("summary.json").write_text(json.dumps(summary))
    status, stdout, _ = call("plot", curve, "-o", "a.html")
    assert (status, stdout) == (0, "a.html: 1 curve\n")
    status, stdout, _ = call("plot", "summary.json", "-o", "b.html")
    assert (status, stdout) == (0, "b.html: 1 curve\n")
    assert Path("b.html").read_bytes() == Path("a.html").read_bytes()


@pytest.mark.usefixtures("folder")
def test_plot_of_ladders_and_its_limits() -> None:
    pytest.importorskip("matplotlib")
    steps, gaps = write(ladder(), "ladder.json"), write(gap_table(), "gaps.json")
    curve = write(model_result("GAN"), "gan.json")
    status, stdout, _ = call("plot", steps, curve, "-o", "a.svg", "--title", "Digits")
    assert (status, stdout) == (0, "a.svg: 7 curves\n")
    assert ">Digits" in Path("a.svg").read_text("utf-8")
    several = {"schema": "several/1", "curves": [json.loads(Path(curve).read_text())] * 2}
    Path("several.json").write_text(json.dumps(several))
    look = ("--size", "6x4", "--unit", "nats", "--log-y", "--linear-x")
    status, stdout, _ = call("plot", "several.json", "-o", "c.svg", *look)
    assert (status, stdout) == (0, "c.svg: 2 curves\n")
    assert "nats per image" in Path("c.svg").read_text("utf-8")
    names = ("--label", "fine", "--label", "coarse")
    assert call("plot", "several.json", "-o", "d.svg", *names)[0] == 0
    assert ">coarse" in Path("d.svg").read_text("utf-8")
    status, _, stderr = call("plot", steps, curve, "-o", "e.svg", *names)
    assert (status, "labels for 2 of 7 curves" in stderr) == (2, True)
    assert call("plot", steps, "-o", "a.svg")[0] == 6
    Path("rd.json").write_text('{"schema": "calotype.rate_distortion/1", "curves": []}')
    Path("other.json").write_text('{"schema": "mine/1"}')
    Path("models.json").write_text('{"models": []}')
    Path("list.json").write_text("[]")
    Path("summary.json").write_text('{"schema": "calotype.bound_summary/1"}')
    cases: list[tuple[tuple[str, ...], int, str]] = [
        ((gaps,), 2, "a gap table has no curve"),
        ((steps, "rd.json"), 2, "draw them separately"),
        ((steps, "--codecs", "jpeg"), 2, "--codecs is for curves of codecs"),
        ((steps, "--rate-range", "0,1"), 2, "--rate-range is for curves of codecs"),
        ((steps, "--unit", "bytes"), 2, "unit 'bytes' is unknown"),
        ((steps, "--unit", "bpp"), 2, "one size of images in all files"),
        ((steps, "--size", "8"), 2, "size '8': expected WIDTHxHEIGHT"),
        ((steps, "--size", "8x500"), 2, "2 to 40"),
        (("rd.json", "--unit", "nats"), 2, "--unit is for curves of generative models"),
        (("rd.json", "--log-y"), 2, "--log-y is for curves of generative models"),
        (("other.json",), 3, "other.json: schema 'mine/1' cannot be drawn; give rd.json"),
        (("models.json",), 3, "a file without a schema cannot be drawn; give rd.json"),
        (("list.json",), 3, "holds list, expected a JSON object; give rd.json"),
        (("summary.json",), 3, "summary.json: holds NoneType, expected a JSON object"),
        (("gone.json",), 3, "gone.json: cannot be read"),
    ]
    for arguments, wanted, message in cases:
        status, _, stderr = call("plot", *arguments, "-o", "b.html")
        assert (status, message in stderr) == (wanted, True), stderr
    assert not Path("b.html").exists()
