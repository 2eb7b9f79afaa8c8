"""Real codecs on real files."""
