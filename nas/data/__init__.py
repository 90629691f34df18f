"""Data: labelled images from where the user has them, split once and placed on a device."""
