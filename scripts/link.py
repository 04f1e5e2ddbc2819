"""Make the clone importable in the environment that runs this, and put `torana` beside its python.

What an editable install does, without a build: the locks then name everything that is ever downloaded.
"""

import stat
import sys
import sysconfig
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src"
SCRIPT = """#!{python}
import sys

from torana.cli import main

sys.exit(main())
"""


def main() -> None:
    Path(sysconfig.get_paths()["purelib"], "torana.pth").write_text(f"{SOURCE}\n", encoding="utf-8")
    script = Path(sysconfig.get_paths()["scripts"], "torana")
    script.write_text(SCRIPT.format(python=sys.executable), encoding="utf-8")
    script.chmod(script.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


main()
