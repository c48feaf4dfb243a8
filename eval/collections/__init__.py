"""Judged collections built from public packages, for machines without access to the hub."""
