"""Tests with two Unix users."""

import os

import pytest

needs_users = pytest.mark.skipif(
    os.geteuid() != 0 and not os.environ.get("CI"), reason="two Unix users: needs root"
)
"""For tests that give files to another user. In CI they run, and fail where it is not root."""
