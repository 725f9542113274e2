"""The version this checkout claims to be. The running personality can be changed with SIM_VERSION."""

__version__ = "0.3.12"
