"""Variational autoencoders of digits, and four ways to code their posteriors."""
