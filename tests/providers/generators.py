"""The scripts that write generated files, loaded as modules so that tests can ask what they would write."""

import importlib.util
import sys
from functools import cache
from types import ModuleType

import corpus


@cache
def script(name: str) -> ModuleType:
    """scripts/<name>.py."""
    spec = importlib.util.spec_from_file_location(f"scripts_{name}", corpus.ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
