"""Benchmarks: what calls cost beside the floor that the stack sets, in the same run. `python -m benchmarks`."""
