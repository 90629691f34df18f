"""Search efficiency: how many evaluations each sampler needs on tables of whole spaces."""
