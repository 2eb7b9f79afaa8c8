"""The second photo model, which is being trained."""
