"""Evaluation of retrieval: data sets and suites, runs, measures, result files, reports."""
