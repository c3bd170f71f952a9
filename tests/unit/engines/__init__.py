"""Tests of the engines' pure parts; real clusters are in tests/integration."""
