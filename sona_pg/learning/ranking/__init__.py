"""Ranking candidates from thumbs and corrections."""
