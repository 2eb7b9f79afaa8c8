"""What a shell completes after an option.  Loads neither torch nor NumPy: a key waits for it."""


def model_names(incomplete: str) -> list[tuple[str, str]]:
    """Return the names of models that begin so, each with its description, for ``-m``."""
    from codec.models.catalog import all_models

    return [(one.name, one.description) for one in all_models() if one.name.startswith(incomplete)]
