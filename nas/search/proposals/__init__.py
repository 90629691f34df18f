"""Proposals: which architecture a trial is to be, by a sampler or as it was queued."""
