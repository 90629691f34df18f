"""Evaluation: the values of one candidate, here or in processes; imports training."""
