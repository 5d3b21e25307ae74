"""Settings of all tests: property tests have no time limit, since machines differ, and are repeatable in CI."""

from __future__ import annotations

import os

import hypothesis

hypothesis.settings.register_profile("house", deadline=None, derandomize=bool(os.environ.get("CI")))
hypothesis.settings.load_profile("house")
