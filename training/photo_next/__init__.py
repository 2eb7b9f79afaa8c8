"""Training of the second photo model."""
