#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""contents.py LIST LIBDIR PACKAGE.deb...: each package installs what LIST says (contents.txt), all of it and nothing else."""
import fnmatch
import pathlib
import subprocess
import sys


def expected(path, libdir):
    packages, name = {}, None
    for line in path.read_text().splitlines():
        if line.startswith("#"):
            continue
        if not line.startswith("\t"):
            name = line
            packages[name] = []
        else:
            packages[name].append(line.strip().replace("LIBDIR", libdir))
    return packages


def installed(package):
    said = subprocess.run(["dpkg-deb", "--contents", package], capture_output=True, text=True, check=True).stdout
    files = [line.split(None, 5)[5].split(" -> ")[0] for line in said.splitlines() if not line.startswith("d")]
    return [name.removeprefix("./usr/") for name in files]


def main():
    packages = expected(pathlib.Path(sys.argv[1]), sys.argv[2])
    bad = []
    for path in sys.argv[3:]:
        name = pathlib.Path(path).name.split("_")[0]
        files, patterns = installed(path), packages.pop(name, [])
        bad += [f"{name}: {file} is not in {sys.argv[1]}" for file in files if not any(fnmatch.fnmatch(file, p) for p in patterns)]
        bad += [f"{name}: {pattern} is missing" for pattern in patterns if not any(fnmatch.fnmatch(file, pattern) for file in files)]
    bad += [f"{name}: no such package was built" for name in packages]
    print("\n".join(bad) or "packages install what they should")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
