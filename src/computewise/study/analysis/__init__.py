"""From a study's records to its summary."""
