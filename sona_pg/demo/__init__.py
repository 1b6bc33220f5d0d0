"""The demo: real questions, simulated thumbs, two processes, one store."""
