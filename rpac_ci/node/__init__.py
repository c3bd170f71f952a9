"""
What runs on every node: rendezvous, code and data in place, the engine's roles, command, upload.

Started as `python -m rpac_ci.node` with the contract in `RPAC_…` variables (ARCHITECTURE.md). It
knows the store and the engine, never the cloud.
"""
