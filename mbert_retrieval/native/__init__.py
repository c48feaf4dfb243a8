"""Compiled kernels: attention, int8 products, and the stages of a PLAID query. Arrays only."""
