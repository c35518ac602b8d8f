"""Facet: seven stages from face photographs with attribute labels to honest reports."""
