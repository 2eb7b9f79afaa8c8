"""The names of `codec.rate_distortion`, and the cost of importing it."""

import subprocess
import sys
import types

import pytest

import codec.rate_distortion as package


def test_every_name_is_found_and_is_no_module() -> None:
    assert len(package._HOME_OF) > 20
    for name, home in package._HOME_OF.items():
        value = getattr(package, name)
        assert not isinstance(value, types.ModuleType), f"{home} shadows {name}"
    with pytest.raises(AttributeError, match="no attribute 'rate'"):
        package.rate  # noqa: B018


def test_dir_lists_the_public_names_alone() -> None:
    listed = dir(package)
    assert {*package._HOME_OF, "MeasurementError", "ResultFileError"} < set(listed)
    public = [name for name, value in vars(package).items() if not name.startswith("_")
              and not isinstance(value, types.ModuleType)]  # fmt: skip
    assert set(public) - set(listed) == {"TYPE_CHECKING", "extra_needed_by"}
    assert all(hasattr(package, name) for name in listed)


def test_importing_it_loads_no_torch() -> None:
    code = "import codec.rate_distortion, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
