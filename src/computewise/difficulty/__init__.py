"""How hard a problem is for a model: estimates of pass@1, what they cost, how good they are, and bins by rank."""

from computewise.difficulty.beta import Beta
from computewise.difficulty.bins import BINS, bin_edges, rank_bins
from computewise.difficulty.estimator import Cost, Estimator
from computewise.difficulty.pooled import OracleDifficulty, PredictedDifficulty
from computewise.difficulty.probe import ProbeDifficulty
from computewise.difficulty.prompt import PromptDifficulty, StateDifficulty
from computewise.difficulty.quality import Estimate, Quality, Reliability, cross_predict, quality, spearman, splits

__all__ = [
    "BINS",
    "Beta",
    "Cost",
    "Estimate",
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
