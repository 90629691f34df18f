"""Serving: latency models and studies over HTTP; imports problem."""
