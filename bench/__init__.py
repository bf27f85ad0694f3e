"""Benchmarks that drive whole servers. How to run them: bench/README.md."""
