"""One server over HTTP: pooled, retried, never more at once than it bears."""
