"""The distribution-preserving codec."""
