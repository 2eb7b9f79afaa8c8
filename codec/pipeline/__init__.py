"""Pictures to containers and back, through any loaded model."""
