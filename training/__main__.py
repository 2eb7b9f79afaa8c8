"""`python -m training`: see `training.commands`."""

import sys

from codec.system.missing_extra import MissingExtraError, extra_needed_by

try:
    with extra_needed_by("this command", extra="train"):
        from training.commands import main
except MissingExtraError as error:
    print(f"training: {error}", file=sys.stderr)
    sys.exit(error.exit_code)

if __name__ == "__main__":
    sys.exit(main())
