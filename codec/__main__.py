"""``python -m codec`` is the command ``calotype``."""

from codec.cli import main

if __name__ == "__main__":
    main()
