"""Measuring retrieval: datasets, runs, measures, the runner, and the record of a result."""
