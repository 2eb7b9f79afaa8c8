"""Training of the photo model."""
