"""What the tests of the pages share."""

from collections.abc import Iterator

import pytest

from tests.browser import Browser, chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for the tests of a file."""
    with chromium() as opened:
        opened.driver.set_script_timeout(120)
        yield opened
