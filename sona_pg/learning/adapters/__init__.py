"""Low-rank adapters: signals, training, EWC."""
