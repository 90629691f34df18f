"""Serving: latency models answer over HTTP."""
