"""Files in, self-contained HTML out."""
