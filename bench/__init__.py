"""Measures what Quarterdeck promises to cost. Run it with ``make bench``."""
