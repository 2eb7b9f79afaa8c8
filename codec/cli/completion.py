"""Shell completion of option values.  Loads neither torch nor NumPy: a user waits for it."""


def model_names(incomplete: str) -> list[tuple[str, str]]:
    """Return the models whose names begin with ``incomplete``, with descriptions, for ``-m``."""
    from codec.models.catalog import all_models

    return [(one.name, one.description) for one in all_models() if one.name.startswith(incomplete)]
