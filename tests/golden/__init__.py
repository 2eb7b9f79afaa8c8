"""Files that were written once, and that every later version must decode."""
