"""Fixtures for tests that search."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Locks of these tests, so that nothing else on this machine is waited for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HWNAS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
