"""The realistic decoder of photo files: a synthesis trained for texture, on unchanged latents."""
