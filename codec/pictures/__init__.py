"""Every kind of image to 8-bit planes, and back to files."""
