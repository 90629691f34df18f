"""Cluster: a search's candidates trained and measured on the nodes of a Ray cluster."""
