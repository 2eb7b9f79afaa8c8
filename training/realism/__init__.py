"""The realistic decoder of photo files: a synthesis trained by a critic, latents as they are."""
