"""Transfer: latency on a new device from a few measurements and other devices' profiles."""
