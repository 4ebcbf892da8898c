"""Policies: the paper's table of bins, and a controller that decides anew after every draw."""

from computewise.policy.table import CrossValidated, best_per_bin, cross_validate

__all__ = ["CrossValidated", "best_per_bin", "cross_validate"]
