"""Weights & Biases: what nothing else imports."""
