"""Judgement of versions: off-policy differences of two versions, and anytime-valid tests of their mean."""
