# SPDX-License-Identifier: LGPL-2.1-or-later
"""Installed as share/gdb/auto-load/LIBDIR/libhapax.so.VERSION-gdb.py, which gdb reads when it meets that library."""
import os
import sys

sys.path.insert(0, os.path.join(__file__.split("/gdb/auto-load/")[0], "hapax", "gdb"))
_writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
import hapax  # noqa: E402, F401

sys.dont_write_bytecode = _writes
