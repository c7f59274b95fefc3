"""Composition root: the only place that names implementations."""

from quarterdeck.app.models import library_models

__all__ = ["library_models"]
