"""Makes the small generative models whose rate-distortion function is measured."""
