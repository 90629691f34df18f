"""Training: weights from examples, resumable bit for bit; imports runs, problem, data, nn."""
