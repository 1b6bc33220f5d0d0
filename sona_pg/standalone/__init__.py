"""SONA's own objects, for use without a store."""
