"""Compression: a trained model made smaller, as functions from model to model; imports graphs."""
