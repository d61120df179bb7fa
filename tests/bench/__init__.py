"""Figures, as ratios within one run."""
