"""Shared by the tests of images."""

import pytest

from pykvm.boot import image

RAM = 64 << 20


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def plan_of(tmp_path):
    """Plans an image given as bytes."""

    def plan(data, **options):
        path = tmp_path / "image"
        path.write_bytes(data)
        return image.plan(str(path), memory=options.pop("memory", RAM), **options)

    return plan
