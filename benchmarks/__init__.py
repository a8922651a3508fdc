"""Measuring programs: each prints a table and one line of JSON. ``python -m benchmarks`` runs them all."""
