"""Tables of the measured figures."""
