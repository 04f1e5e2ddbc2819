"""An AI gateway: one address in front of many model providers, and the library inside it."""

__version__ = "0.1.0"
