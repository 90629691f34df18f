"""Data: labelled images from where the user has them, split once; imports nn."""
