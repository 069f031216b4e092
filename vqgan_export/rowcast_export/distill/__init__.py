"""Distillation of a small decoder: taught on grids that a model drew, with no image data."""
