"""Nodes: a Ray cluster on this machine, its processes and sockets; imports no other room."""
