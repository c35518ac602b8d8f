"""Take the data from its source, verify it, write one canonical form."""
