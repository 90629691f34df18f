"""Graphs: a network as data, its operators, precisions and costs; imports nothing but numpy."""
