"""Judged collections that any machine can build from public packages, for lack of a hub."""
