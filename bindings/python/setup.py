"""The C extension, if it can be compiled: the package works without it. Everything else is in pyproject.toml."""

from setuptools import Extension, setup

setup(ext_modules=[Extension("tenure._native", ["tenure/_native.c"], optional=True, py_limited_api=True)])
