"""The main job: measure, fit, prove."""
