"""The realistic decoder of photo files: a synthesis trained for texture, latents as they are."""
