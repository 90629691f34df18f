"""Recipe: what a training is made of: optimizers, schedules, first weights, means over steps."""
