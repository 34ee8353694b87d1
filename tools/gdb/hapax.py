# SPDX-License-Identifier: LGPL-2.1-or-later
"""gdb: "source .../hapax.py" makes the commands "hapax ..." and shows hapax's types as what they are. See docs/debugging.md."""
import os
import sys

_here = os.path.dirname(os.path.abspath(__file__))
if _here not in sys.path:
    sys.path.insert(0, _here)

_writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # nothing is written beside what is installed
import hapax_gdb.commands  # noqa: E402
import hapax_gdb.printers  # noqa: E402

sys.dont_write_bytecode = _writes
hapax_gdb.commands.register()
hapax_gdb.printers.register()
