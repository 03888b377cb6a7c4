"""What all tests share."""

import shutil
import subprocess

import pytest

BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)


@pytest.fixture
def browse(tmp_path):
    """Open a page in a browser without a window and return what it wrote; skips without one."""
    if not BROWSER:
        pytest.skip("needs chromium to look at the page")
    quiet = ["--disable-background-networking", "--disable-component-update", "--no-first-run"]

    def opened(page, *options):
        ran = subprocess.run(
            [BROWSER, "--headless", "--disable-gpu", "--no-sandbox", "--disable-sync", *quiet,
             f"--user-data-dir={tmp_path / 'profile'}", *options, page.as_uri()],
            check=True, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        return ran.stderr

    return opened


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Nothing is read from the cache of whoever runs the tests, or left there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAYERSCOPE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
