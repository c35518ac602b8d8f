"""`facet compare`: runs and recipes side by side, as a page and tables."""
