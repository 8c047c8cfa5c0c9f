"""What scenarios are expected to come to: see ``simulations.benchmarks.scenarios``."""
