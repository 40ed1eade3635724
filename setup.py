"""What pyproject.toml cannot say: where the C extension is described, and that a wheel holds the
guests of ``pykvm bench``."""

import subprocess

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithGuests(build_py):
    """Builds the guests before the package's data is collected; ``make build`` does it itself."""

    def run(self) -> None:
        if not self.editable_mode:
            subprocess.run(["make", "--silent", "guest"], check=True)
        super().run()


setup(
    cffi_modules=["native/build.py:ffibuilder"],
    cmdclass={"build_py": BuildWithGuests},
)
