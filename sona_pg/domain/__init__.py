"""Frozen values that every layer shares: they know no database and no learner."""
