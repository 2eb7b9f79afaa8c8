"""A family for tests: the mean colour of each block."""

from codec.models.spec import ModelSpec

TOY = ModelSpec(
    64999,
    "toy",
    "tests: the mean colour of each block",
    "tests.codec.models.toy.coder:load_toy",
)
MODELS = (TOY,)
