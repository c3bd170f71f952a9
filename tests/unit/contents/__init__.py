"""Pairs of files with a known answer."""

import pytest

pytest.register_assert_rewrite("tests.unit.contents.builders")
