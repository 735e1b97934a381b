"""What produces every performance figure in the README: `python -m benchmarks` runs all of them."""
