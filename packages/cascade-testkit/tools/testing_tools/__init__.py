"""Tools for the tests and benchmarks of this repository; no distribution contains them."""
