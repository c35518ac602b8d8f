"""Exams of the audit with planted faults, beside other tools."""
