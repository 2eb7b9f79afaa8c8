"""A family for tests: the mean colour of each block."""

from codec.models.family import Family

TOY = Family(
    64999,
    "toy",
    "tests: the mean colour of each block",
    "tests.codec.models.toy.coder:load_toy",
)
FAMILY = (TOY,)
