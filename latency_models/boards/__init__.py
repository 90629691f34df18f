"""Boards: machines that run compiled code, here or far away; imports devices."""
