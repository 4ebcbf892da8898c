"""What was paid for once, kept: a store of generations and scores, and the asking of each only once."""

from computewise.cache.store import Generations

__all__ = ["Generations"]
