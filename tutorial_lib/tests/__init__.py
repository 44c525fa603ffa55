"""The tests of the package; `pytest` runs them with the notebooks."""
