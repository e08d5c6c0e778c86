"""Commands that need a file rather than a Trainer: one typed function each."""
