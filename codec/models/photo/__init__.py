"""Photographs: a variational autoencoder with a hyperprior."""
