"""An index as a service: over HTTP with a page, and to agents over the Model Context Protocol."""
