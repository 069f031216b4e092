"""Engines of several machines behind the same book: replicas, and the gateways beside this one."""
