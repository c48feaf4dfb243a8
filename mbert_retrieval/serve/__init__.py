"""Serve an index: over HTTP with a search page, and to agents over the Model Context Protocol."""
