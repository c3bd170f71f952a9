"""Every cloud's promises; imported by the tests of each cloud."""

import pytest

pytest.register_assert_rewrite("tests.unit.clouds.contract")
