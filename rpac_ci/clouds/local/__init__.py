"""The embedded cloud: N nodes as process groups on this machine."""
