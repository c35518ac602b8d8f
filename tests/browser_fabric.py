"""A browser for tests, where there is one."""

import shutil

import pytest

from stages.printout import BROWSERS

CHROMIUM = next((path for name in BROWSERS if (path := shutil.which(name))), None)
NEEDS_BROWSER = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium or chrome on PATH"),
]
