#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""check.py SOURCE LIBRARY: the library that was just built is compatible with the dumps in abi/; and changes of the headers that would
break programs are found, while those that are allowed are not."""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

source, library = pathlib.Path(sys.argv[1]), sys.argv[2]
if not shutil.which("abidiff"):
    print("abigail-tools are not installed")
    sys.exit(77)
sys.path.insert(0, str(source / "scripts"))
import abi_check  # noqa: E402

failed = 0
base = (source / "include" / "hapax" / "base.h").read_text()
in_header = ".".join(re.search(rf"HAPAX_VERSION_{part} (\d+)", base).group(1) for part in ("MAJOR", "MINOR", "PATCH"))
in_project = re.search(r"^project\(hapax VERSION (\S+)", (source / "CMakeLists.txt").read_text(), re.M).group(1)
if not in_header == in_project == re.search(r'HAPAX_VERSION_STRING "(.*)"', base).group(1):
    failed = 1
    print(f"the version is {in_project} in CMakeLists.txt, and {in_header} in hapax/base.h")

dumps = sorted((source / "abi").glob("*.abixml"))
for dump in dumps:
    breaks, added = abi_check.compare(dump, library)
    for line in added:
        print(f"{dump.name}: added: {line}")
    if breaks:
        failed = 1
        print(f"{dump.name}:", "\n".join(breaks), "\nmeant, and nothing was released since? docs/releasing.md says how a dump is made anew", sep="\n")

# file, what is changed, into what; what is then found, or None if it is allowed
CHANGES = [
    ("lib/hapax.map", r"\thapax_count;\n", "", "removed"),
    ("include/hapax/cache.h", r"(\tint64_t max_weight; )", r"\tint64_t max_width;\n\1", "offset changed"),
    ("include/hapax/weak.h", r"(\tvoid \(\*ctx_free\)\(void \*ctx\);\n)(\} hapax_callback;)", r"\1\tint more;\n\2", "hapax_callback"),
    ("include/hapax/cache.h", r"HAPAX_CAUSE_EXPIRED = 3", "HAPAX_CAUSE_EXPIRED = 7", "HAPAX_CAUSE_EXPIRED"),
    ("include/hapax/cache.h", r"(\n\} hapax_cache_options;)", r"\n\tint more;\1", None),
]
with tempfile.TemporaryDirectory() as directory:
    work = pathlib.Path(directory)
    for number, (name, pattern, text, found) in enumerate(CHANGES):
        copy = work / f"source{number}"
        shutil.copytree(source / "include", copy / "include")
        (copy / "lib").mkdir()
        shutil.copy(source / "lib" / "hapax.map", copy / "lib")
        before = (copy / name).read_text()
        after = re.sub(pattern, text, before, count=1)
        (copy / name).write_text(after)
        breaks, added = abi_check.compare(dumps[-1], abi_check.skeleton(copy, work / f"built{number}"))
        if after == before or bool(breaks) != bool(found) or (found and found not in "\n".join(breaks)):
            failed = 1
            print(f"{name} changed ({pattern}): {breaks or added or 'nothing was found'}")
done = subprocess.run([sys.executable, str(source / "scripts" / "abi_check.py"), "no-such-tag", "."], capture_output=True, check=False)
if done.returncode != 2:
    failed = 1
    print(f"a tag that there is not: exit status {done.returncode}")
print(f"compatible with {', '.join(dump.stem for dump in dumps)}" if not failed else "not compatible")
sys.exit(failed)
