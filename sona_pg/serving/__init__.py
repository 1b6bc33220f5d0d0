"""Answers from the served version: patterns, rankings, routes."""
