"""Transfer: a new device from a few measurements; imports every other room."""
