"""Find duplicates, leaks, conflicting labels and unreadable images."""
