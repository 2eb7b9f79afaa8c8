"""From every kind of image to planes of samples, and back to files."""
