"""What a server asks of the version it serves: patterns, rankings, routes."""
