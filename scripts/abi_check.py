#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""abi_check.py OLD NEW: is a program that was built against OLD right with NEW?

OLD and NEW are each a library (libhapax.so, with debugging information), a dump (abi/*.abixml), a tag or commit, or `.`, the sources
here. Of sources a library is built that has the public functions without their contents: types behind opaque pointers are no
part of the interface, and so not seen.

Compatible: everything is as it was, or functions were added, or structures that begin with their own size became longer at their end
(programs that were compiled before say the old size; docs/releasing.md). Exit status: 0 compatible, 1 not, 2 bad input.

abi_check.py --dump SOURCE FILE writes a dump of a tag or of `.`, to be kept.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import headerdoc  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent


def bad_input(text):
    print(text, file=sys.stderr)
    sys.exit(2)


def run(*command, **given):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **given)
    if done.returncode:
        bad_input(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout


def skeleton(source, work):
    """A library of the functions that the headers of `source` declare and lib/hapax.map exports, all empty."""
    library = headerdoc.Library(source / "include" / "hapax")
    text = [f"#include <hapax/{name}>" for name in library.headers]
    for item in library.functions.values():
        code = " ".join(re.sub(r"/\*.*?\*/", "", item.code, flags=re.S).split()).rstrip(";")
        text.append(code.replace("HAPAX_MUST_CHECK ", "") + " { __builtin_trap(); }")
    work.mkdir()
    (work / "functions.c").write_text("\n".join(text) + "\n")
    run("cc", "-std=c11", "-g", "-O0", "-shared", "-fPIC", "-I", source / "include", f"-Wl,--version-script={source / 'lib' / 'hapax.map'}",
        "-Wl,-soname,libhapax.so.0", "-o", work / "libhapax.so", work / "functions.c")
    return work / "libhapax.so"


def subject(what, work):
    if what == ".":
        return skeleton(ROOT, work / "here")
    if pathlib.Path(what).is_file():
        return what
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "-q", "--verify", what + "^{commit}"], capture_output=True, text=True,
                            check=False).stdout.strip()
    if not commit:
        bad_input(f"{what} is no file, tag or commit")
    source = work / f"source-{commit}"
    source.mkdir(exist_ok=True)
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", commit, "include", "lib/hapax.map"], capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", str(source)], input=archive, check=True)
    return skeleton(source, work / f"built-{commit}")


def sized():
    """Structures whose first member is their own size."""
    library = headerdoc.Library(ROOT / "include" / "hapax")
    names = set()
    for name, item in library.types.items():
        code = re.sub(r"/\*.*?\*/", "", item.code, flags=re.S)
        if re.search(r"struct \w+\s*\{\s*size_t (struct_)?size;", code):
            names.add(name)
    return names


def only_longer(block, allowed):
    """A changed type that is a structure with its size in it, and has only got new members behind the old ones."""
    head = re.match(r"'struct (\w+)(?: at [^']*)?' changed:", block)
    size = re.search(r"type size changed from (\d+) to (\d+) \(in bits\)", block)
    if not head or head.group(1) not in allowed or not size or int(size.group(2)) < int(size.group(1)):
        return False
    members = [int(offset) for offset in re.findall(r"^    '.*', at offset (\d+) \(in bits\)", block, re.M)]
    said = set(re.findall(r"^  (\S.*)$", block, re.M))
    strange = [line for line in said if not re.match(r"type size changed|\d+ data member insertion|no data member change", line)]
    return bool(members) and not strange and all(offset >= int(size.group(1)) for offset in members)


def compare(old, new):
    """What is not compatible, and what was added."""
    done = subprocess.run(["abidiff", "--leaf-changes-only", str(old), str(new)], capture_output=True, text=True, check=False)
    if done.returncode & 3:
        bad_input(f"abidiff failed: {done.stderr.strip()}")
    allowed = sized()
    breaks, added = [], re.findall(r"^  \[A\] (.*)$", done.stdout, re.M)
    breaks += [f"removed: {name}" for name in re.findall(r"^  \[D\] (.*)$", done.stdout, re.M)]
    breaks += re.findall(r"^  \[C\] .*(?:\n    .*)*", done.stdout, re.M)
    for block in re.findall(r"^'\w+ [^\n]*' changed:\n(?:  .*\n?)*", done.stdout, re.M):
        if only_longer(block, allowed):
            added.append(block.split("\n")[0] + " it is longer")
        else:
            breaks.append(block.rstrip())
    if done.returncode & 12 and not breaks and not added:
        breaks.append(done.stdout) # something that was not understood
    return breaks, added


def main():
    arguments = sys.argv[1:]
    with tempfile.TemporaryDirectory() as directory:
        work = pathlib.Path(directory)
        if len(arguments) == 3 and arguments[0] == "--dump":
            run("abidw", "--no-corpus-path", "--no-comp-dir-path", "--no-show-locs", "--out-file", arguments[2], subject(arguments[1], work))
            return 0
        if len(arguments) != 2 or arguments[0].startswith("-"):
            bad_input(__doc__)
        breaks, added = compare(subject(arguments[0], work), subject(arguments[1], work))
    for line in added:
        print("added:", line)
    if breaks:
        print("\n".join(breaks))
        print("not compatible: docs/releasing.md says what that means")
        return 1
    print("compatible")
    return 0


if __name__ == "__main__":
    sys.exit(main())
