"""Difficulty of a problem for a model: estimates of pass@1, their cost and quality, and bins by rank."""

from computewise.difficulty.estimators import (
    BINS,
    Cost,
    Estimator,
    OracleDifficulty,
    PredictedDifficulty,
    bin_edges,
    rank_bins,
)
from computewise.difficulty.evaluate import Quality, Reliability, cross_predict, quality, spearman, splits
from computewise.difficulty.learned import Beta, ProbeDifficulty, PromptDifficulty, StateDifficulty

__all__ = [
    "BINS",
    "Beta",
    "Cost",
    "Estimator",
    "OracleDifficulty",
    "PredictedDifficulty",
    "ProbeDifficulty",
    "PromptDifficulty",
    "Quality",
    "Reliability",
    "StateDifficulty",
    "bin_edges",
    "cross_predict",
    "quality",
    "rank_bins",
    "spearman",
    "splits",
]
