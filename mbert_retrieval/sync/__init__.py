"""Keep an index in sync with its source files."""
