# SPDX-License-Identifier: LGPL-2.1-or-later
"""What gdb knows of hapax. memory: reading; things: objects, tables, caches, threads; printers, commands: showing.

Nothing here calls a function of the process or writes to it, so all of it works on a core file."""
