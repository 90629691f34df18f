"""Augmentation: what may happen to training images, as tensors in one pass on the device."""
