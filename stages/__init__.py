"""Facet: seven stages from face photographs with attribute labels to honest per-attribute reports."""
