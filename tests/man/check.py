#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""check.py SOURCE PAGES [--program NAME=COMMAND]...: the man pages. mandoc finds nothing to warn of; there is a page for every
function that the library exports, and none more; what they refer to is there; program pages and --help know the same options. And
the same checks find what is put in wrong on purpose."""
import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ELSEWHERE = {("zstd", "1"), ("jq", "1")}


def lint(pages):
    """What mandoc says of pages, from warnings on."""
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", *map(str, pages)], capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if line]


def exported(source):
    return set(re.findall(r"^\t(hapax_\w+);", (source / "lib" / "hapax.map").read_text(), re.M))


def missing_pages(source, pages):
    there = {path.stem for path in (pages / "man3").glob("*.3") if not path.stem.endswith(".h")}
    symbols = exported(source)
    return [f"no page for {name}" for name in sorted(symbols - there)] + [f"page for {name}, which there is not" for name in sorted(there - symbols)]


def lost_references(pages, programs):
    """.Xr to pages that are not there. Programs that this build does not make are left out of it."""
    there = {(path.stem, path.suffix[1:]) for path in pages.glob("man?/*")} | ELSEWHERE
    there |= {(name, "1") for name in ("hapax-stress", "hapax-top") if name not in programs}
    bad = []
    for path in sorted(pages.glob("man?/*")):
        for name, section in re.findall(r"^\.(?:It )?Xr (\S+) (\d)", path.read_text(), re.M):
            if (name, section) not in there:
                bad.append(f"{path.name}: refers to {name}({section})")
    return bad


def unlike_help(page, helps):
    """Options in one of them only."""
    option = r"(?<![\w-])--?[a-z][a-z0-9-]*"
    text = page.replace("\\-", "-").replace("\\fR", "").replace("\\fI", "").replace("\\fB", "")
    text = re.sub(r"^\.B[dl] .*$", "", text, flags=re.M)
    text = re.sub(r"^\.(?:Fl|Op Fl|It Fl) (\S+)", r"-\1", text, flags=re.M)
    in_page = set(re.findall(option, text))
    in_help = set(re.findall(option, "\n".join(helps)))
    return [f"{name}: not in the page" for name in sorted(in_help - in_page)] + [f"{name}: not in --help" for name in sorted(in_page - in_help)]


def asked(command, *arguments):
    return subprocess.run([command, *arguments, "--help"], capture_output=True, text=True, timeout=30, check=True).stdout


def all_helps(command):
    helps = [asked(command)]
    if "Commands:" in helps[0]:
        helps += [asked(command, name) for name in re.findall(r"^  ([a-z]+) {2,}\S", helps[0].split("Commands:", 1)[1], re.M)]
    return helps


def generate(source, out):
    return subprocess.run([sys.executable, str(source / "scripts" / "manpages.py"), "--source", str(source), "--out", str(out),
                           "--version", "0", "--date", "0"], capture_output=True, text=True, check=False)


def broken(source, work):
    """Each fault, put into a copy, is found. Returns those that were not."""
    faults = [
        ("a function without a comment", "include/hapax/object.h", r"/\* The strong count now:.*?\*/\n", "", "hapax_count has no comment"),
        ("a new function without a comment", "include/hapax/base.h", r"\nHAPAX_END_DECLS", "\nHAPAX_API int hapax_new_one(void);\n\nHAPAX_END_DECLS",
         "hapax_new_one"),
        ("a function that is not exported", "lib/hapax.map", r"\thapax_count;\n", "", "hapax_count is not in lib/hapax.map"),
        ("a reference to nothing", "include/hapax/table.h", r"Fails as hapax_table_put\.", "Fails as hapax_table_put_it.", "hapax_table_put_it"),
        ("an error that is none", "include/hapax/base.h", r"A static string; any thread", "HAPAX_ENOSUCH; any thread", "HAPAX_ENOSUCH"),
        ("a name of no function", "man/names", r"\Z", "hapax_no_such\tnothing\n", "hapax_no_such"),
    ]
    bad = []
    copy = work / "copy"
    for number, (what, path, pattern, text, said) in enumerate(faults):
        shutil.rmtree(copy, ignore_errors=True)
        for part in ("include", "man", "scripts"):
            shutil.copytree(source / part, copy / part)
        (copy / "lib").mkdir()
        shutil.copy(source / "lib" / "hapax.map", copy / "lib")
        before = (copy / path).read_text()
        after = re.sub(pattern, lambda _: text, before, count=1, flags=re.S)
        if after == before:
            bad.append(f"{what}: could not be put into {path}")
            continue
        (copy / path).write_text(after)
        done = generate(copy, work / f"out{number}")
        if done.returncode == 0 or said not in done.stderr:
            bad.append(f"{what} was not found: {done.stderr.strip()}")
    return bad


def broken_pages(source, pages, work):
    """The checks of pages themselves."""
    bad = []
    copy = work / "pages"
    shutil.copytree(pages, copy)
    page = copy / "man3" / "hapax_count.3"
    page.write_text(page.read_text().replace(".Sh SEE ALSO", ".Bl -tag\n.Sh SEE ALSO\n.Xr hapax_no_such 3"))
    if not lint([page]):
        bad.append("mandoc finds nothing in a page with a list that does not end")
    if not lost_references(copy, []):
        bad.append("a lost reference is not found")
    page.unlink()
    if not missing_pages(source, copy):
        bad.append("a missing page is not found")
    if unlike_help("--one\n--two", ["--one --three"]) != ["--three: not in the page", "--two: not in --help"]:
        bad.append("options that differ are not found")
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("pages", type=pathlib.Path)
    parser.add_argument("--program", action="append", default=[])
    given = parser.parse_args()
    if not shutil.which("mandoc"):
        print("mandoc is not installed")
        return 77

    all_pages = sorted(given.pages.glob("man?/*"))
    programs = dict(program.split("=", 1) for program in given.program)
    bad = lint(all_pages) + missing_pages(given.source, given.pages) + lost_references(given.pages, programs)
    for name, command in programs.items():
        bad += [f"{name}(1): {what}" for what in unlike_help((given.pages / "man1" / f"{name}.1").read_text(), all_helps(command))]
    with tempfile.TemporaryDirectory() as work:
        bad += broken(given.source, pathlib.Path(work)) + broken_pages(given.source, given.pages, pathlib.Path(work))
    if bad:
        print("\n".join(bad))
        return 1
    print(f"{len(exported(given.source))} exported functions, as many pages; {len(all_pages)} pages in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
