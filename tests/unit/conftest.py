"""What unit tests share: examples may take as long as a busy machine needs."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "unit", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
# the same examples in every run: a mutant that one run kills, the next one kills too
settings.register_profile(
    "mutation", parent=settings.get_profile("unit"), max_examples=25, derandomize=True
)
settings.load_profile("unit")
