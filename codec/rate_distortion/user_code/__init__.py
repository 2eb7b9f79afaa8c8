"""A decoder or a distortion from a person's own file."""
