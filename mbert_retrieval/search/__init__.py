"""A query's way through an index: encoders, legs, fusion, ranking rules, explanations."""
