"""Memory graph: edges, spreading activation, dreams, integration, consolidation."""
