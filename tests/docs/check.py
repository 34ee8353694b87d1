#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""check.py [--cc CC] [--cxx CXX] [--program NAME=PATH]... SOURCE: what the pages of SOURCE (all *.md) say is true of SOURCE.

Links       relative ones lead to what exists in SOURCE, with its anchor (by GitHub's rules); so do images.
Paths       none of somebody's machine (/home/..., /root/...).
Code blocks have a language, and are checked by it:
  c, cpp    compiled, with -Wall -Wextra -Werror, against SOURCE/include
  python    compiled; json: parsed; cmake: parsed by cmake, if there is one
  sh        read by bash -n; `make X` names a target, `PROGRAM ... --option` an option in PROGRAM's --help, for each --program
            that has been built. The latter two also in `code` within text
  text, and languages of others (java, rust, go): not looked at
A comment on the lines directly above a block says what kind of block it is:
  <!-- from: FILE -->         it is FILE, less its licence line; FILE is seen to by the build
  <!-- from: FILE NAME -->    it is what is in FILE between a line with [NAME] and one with [/NAME], less its indentation
  <!-- output: PROGRAM -->    it is in what PROGRAM, one of --program, writes, if that has been built and there are any
  <!-- code: WORDS given: DECLARATIONS -->    WORDS, each optional, and declarations that the reader has to imagine:
      body         what is inside of a function
      continues    goes on where the last block of its language on the page ended
      needs=X      is compiled where pkg-config knows X
A block of C or C++ without #include sees all public headers and those of the language."""
import argparse
import ast
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
import unicodedata

UNCHECKED = {"text", "java", "rust", "go", "diff", "promql", "yaml"}
MACHINE = re.compile(r"(?<![\w./$}-])/(?:home|root|work|mnt|media|Users|builds)/\w|file://")
FENCE = re.compile(r"^( *)(```+|~~~+)\s*(\S*)\s*$")
C_PRELUDE = "#include <errno.h>\n#include <pthread.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n"
CXX_PRELUDE = "#include <memory>\n#include <mutex>\n#include <string>\n#include <unordered_map>\n#include <vector>\n"


class Block:
    def __init__(self, line, language):
        self.line, self.language, self.lines = line, language, []
        self.quoted, self.words, self.given, self.output = None, [], "", None

    @property
    def text(self):
        return "\n".join(self.lines) + "\n"


class Page:
    def __init__(self, path, name):
        self.path, self.name, self.blocks, self.prose, self.bad = path, name, [], [], []
        block, above, above_line, fence, comment = None, "", 0, "", False
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = FENCE.match(line)
            if block:
                if match and match[2].startswith(fence) and not match[3]:
                    block = None
                else:
                    block.lines.append(line[indent:] if not line[:indent].strip() else line)
                self.prose.append("")
                continue
            if match:
                indent, fence = len(match[1]), match[2]
                block = Block(number, match[3])
                self.blocks.append(block)
                if above and above_line == number - 1:
                    self.marker(block, above)
                self.prose.append("")
                continue
            if comment or "<!--" in line:
                above = above + "\n" + line if comment else line
                comment, above_line = "-->" not in line, number
                self.prose.append("")
            else:
                self.prose.append(line)
        if block:
            self.say(block.line, "a code block does not end")

    def say(self, line, what):
        self.bad.append((line, what))

    def marker(self, block, text):
        match = re.search(r"<!--\s*(from|code|output):\s*(.*?)\s*-->", text, re.S)
        if not match:
            return
        if match[1] == "from":
            block.quoted = match[2].split()
            return
        if match[1] == "output":
            block.output = match[2]
            return
        words, _, block.given = match[2].partition("given:")
        for word in words.split():
            if word not in ("body", "continues") and not re.fullmatch(r"needs=\S+", word):
                self.say(block.line, f"unknown word '{word}' in the comment above a code block")
            block.words.append(word)

    def anchors(self):
        seen, found = {}, set()
        for line in self.prose:
            found.update(re.findall(r"<a\s+(?:id|name)=\"([^\"]+)\"", line))
            match = re.match(r" {0,3}#{1,6}\s+(.*?)\s*#*\s*$", line)
            if not match:
                continue
            text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", match[1])
            text = re.sub(r"[`*]|<[^>]*>", "", text).strip().lower()
            slug = "".join("-" if c == " " else c for c in text
                           if c in " -_" or unicodedata.category(c)[0] in "LN")
            count = seen.get(slug, 0)
            seen[slug] = count + 1
            found.add(f"{slug}-{count}" if count else slug)
        return found


def check_links(page, pages, source):
    anchors = {}
    for number, line in enumerate(page.prose, 1):
        text = re.sub(r"(`+)(?:(?!\1).)+?\1(?!`)", "", line)
        targets = re.findall(r"\]\(<?([^)\s>]*)>?(?:\s+\"[^\"]*\")?\)", text)
        targets += re.findall(r"^\s*\[[^\]]+\]:\s*(\S+)", text)
        targets += re.findall(r"<(?:img|a|source)\s[^>]*?(?:src|href|srcset)=\"([^\"]+)\"", text)
        for target in targets:
            if re.match(r"(?:https?|mailto):", target):
                continue
            file, _, anchor = target.partition("#")
            if file.startswith("/"):
                page.say(number, f"link to {target}, an absolute path")
                continue
            to = pathlib.Path(os.path.normpath(page.path.parent / file)) if file else page.path
            if source != to and source not in to.parents:
                page.say(number, f"link to {target}, outside the repository")
            elif not to.exists():
                page.say(number, f"link to {target}, which is not there")
            elif anchor and to in pages:
                if to not in anchors:
                    anchors[to] = pages[to].anchors()
                if anchor not in anchors[to]:
                    page.say(number, f"link to {target}: no such anchor")
            elif anchor:
                lines = re.fullmatch(r"L(\d+)(?:-L(\d+))?", anchor)
                if not lines or to.is_dir() or int(lines[2] or lines[1]) > len(to.read_text().splitlines()):
                    page.say(number, f"link to {target}: no such place")


def check_quote(page, block, source):
    """A block that says which file it is from."""
    path = source / block.quoted[0]
    if not path.is_file():
        page.say(block.line, f"quotes {block.quoted[0]}, which is not there")
        return
    text = path.read_text()
    if len(block.quoted) == 1:
        text = re.sub(r"\A(#!.*\n)?(/\* SPDX[^\n]*\*/|(//|#) SPDX[^\n]*)\n", "", text)
    else:
        name = re.escape(block.quoted[1])
        match = re.search(rf"^[^\n]*\[{name}\][^\n]*\n(.*?)^[^\n]*\[/{name}\]", text, re.M | re.S)
        if not match:
            page.say(block.line, f"quotes [{block.quoted[1]}] of {block.quoted[0]}, which has no such part")
            return
        text = textwrap.dedent(match[1])
    # places that other pages quote are no part of what is shown
    theirs = [line for line in text.strip("\n").split("\n") if not re.fullmatch(r"\s*(/\*|//|#) \[/?[\w-]+\]( \*/)?", line)]
    ours = block.text.strip("\n").split("\n")
    if ours == theirs:
        return
    at = next((n for n, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
    page.say(block.line + 1 + at, f"is not what {' '.join(block.quoted)} says: "
             f"{theirs[at].strip() if at < len(theirs) else 'it ends before this'!r}")


def check_output(page, block, programs):
    program = programs.get(block.output)
    if not programs:
        return
    if not program:
        page.say(block.line, f"shows the output of {block.output}, of which nothing is known here")
    elif os.access(program, os.X_OK):
        run = subprocess.run([program], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
        if run.returncode or block.text not in run.stdout:
            page.say(block.line + 1, f"is not what {block.output} writes (exit status {run.returncode})")


def units(page, language):
    """Blocks that are compiled together."""
    found = []
    for block in page.blocks:
        if block.language != language or block.quoted:
            continue
        if "continues" in block.words and found:
            found[-1].append(block)
        elif "continues" in block.words:
            page.say(block.line, "continues nothing")
        else:
            found.append([block])
    return found


def render(page, unit):
    out = []
    for block in unit:
        if block.given.strip():
            out.append(f'#line {block.line} "{page.name}"\n{block.given}\n')
    for inside in (False, True):
        blocks = [block for block in unit if ("body" in block.words) == inside]
        if inside and blocks:
            out.append("int hapax_docs_body(void);\nint hapax_docs_body(void)\n{\n")
        out += [f'#line {block.line + 1} "{page.name}"\n{block.text}' for block in blocks]
        if inside and blocks:
            out.append("\nreturn 0;\n}\n")
    return "\n".join(out)


def check_compiled(pages, source, compilers, work):
    """All C in one run of the compiler, all C++ in another, both at once. Returns how many blocks."""
    include = source / "include"
    public = sorted(path.name for path in include.glob("hapax/*.h") if path.name != "testing.h")
    by_name = {page.name: page for page in pages.values()}
    runs, count = [], 0
    for language, standard in (("c", "-std=gnu11"), ("cpp", "-std=c++17")):
        headers = "".join(f"#include <hapax/{name}>\n" for name in public)
        if language == "cpp":
            headers = "#include <hapax/hapax.hpp>\n"
        prelude = (C_PRELUDE if language == "c" else CXX_PRELUDE) + headers
        groups, together = {}, []
        for page in pages.values():
            for unit in units(page, language):
                needs = tuple(word[6:] for block in unit for word in block.words if word.startswith("needs="))
                if needs and (not shutil.which("pkg-config") or subprocess.call(["pkg-config", "--exists", *needs])):
                    print(f"{page.name}:{unit[0].line}: not compiled, there is no {' '.join(needs)}")
                    continue
                count += len(unit)
                text = render(page, unit)
                own = any("#include" in block.text for block in unit)
                if language == "cpp" and not own and not needs: # its headers take a second: once for all
                    together.append(f"namespace page_{count} {{\n{text}\n}}\n")
                    continue
                file = work / f"{count}.{language}"
                file.write_text(text if own else prelude + text)
                groups.setdefault(needs, []).append(file)
        if together:
            (work / f"all.{language}").write_text(prelude + "".join(together))
            groups.setdefault((), []).append(work / f"all.{language}")
        for needs, files in groups.items():
            flags = subprocess.run(["pkg-config", "--cflags", *needs], capture_output=True, text=True).stdout if needs else ""
            # what a fragment declares is not always used; -S, as -fsyntax-only does not see results that are not looked at
            command = [*shlex.split(compilers[language]), standard, "-S", "-Wall", "-Wextra", "-Werror",
                       "-Wno-unused-variable", "-Wno-unused-but-set-variable", "-Wno-unused-function",
                       "-Wno-unused-parameter", "-Wno-unused-const-variable", "-Wno-missing-field-initializers",
                       "-fno-diagnostics-show-caret", "-D_GNU_SOURCE", f"-I{include}", *shlex.split(flags), *map(str, files)]
            runs.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=work,
                                         env={**os.environ, "LC_ALL": "C"}))
    for run in runs:
        errors = run.communicate()[1]
        said = False
        for name, line, what in re.findall(r"^(.+?):(\d+)(?::\d+)?: (?:fatal )?error: (.*)$", errors, re.M):
            if name in by_name:
                by_name[name].say(int(line), what)
                said = True
        if run.returncode and not said:
            sys.exit(f"the compiler failed:\n{errors}")
    return count


def targets(makefile):
    return set(name for line in re.findall(r"^([\w. -]+):(?!=)", makefile.read_text(), re.M) for name in line.split())


class Shell:
    """Commands that pages name."""

    def __init__(self, source, programs):
        self.source, self.programs, self.helps, self.targets = source, programs, {}, {}

    def help(self, name, command):
        key = (name, command)
        if key not in self.helps:
            arguments = [self.programs[name], *([command] if command else []), "--help"]
            run = subprocess.run(arguments, capture_output=True, text=True, timeout=20)
            self.helps[key] = run.stdout + run.stderr if run.returncode == 0 else None
        return self.helps[key]

    def command(self, page, line, text):
        try:
            words = shlex.split(text, comments=True)
        except ValueError:
            return # continued on the next line; bash -n has seen the whole
        while words and (re.match(r"\w+=", words[0]) or words[0] in ("sudo", "time", "env", "nohup")):
            words = words[1:]
        if not words:
            return
        name = os.path.basename(words[0])
        if name == "make":
            self.make(page, line, words[1:])
        elif name in self.programs and os.access(self.programs[name], os.X_OK):
            command = words[1] if len(words) > 1 and re.fullmatch(r"[a-z][a-z-]*", words[1]) else ""
            known = self.help(name, command)
            if known is None and command:
                known = self.help(name, "") if name != "hapax-stress" else None
            if known is None:
                page.say(line, f"{name} has no command '{command}'")
                return
            for word in words[1:]:
                option = re.match(r"--[a-z][a-z-]*", word)
                if option and option[0] not in ("--help", "--version") and \
                        not re.search(re.escape(option[0]) + r"(?![\w-])", known):
                    page.say(line, f"{' '.join([name, command]).strip()} has no option {option[0]}")

    def make(self, page, line, words):
        makefile = self.source / "Makefile"
        while words:
            word, words = words[0], words[1:]
            if word in ("-C", "-f", "-j"):
                if not words:
                    return
                if word != "-j":
                    makefile = self.source / words[0] / ("Makefile" if word == "-C" else "")
                words = words[1:]
                continue
            if re.fullmatch(r"[;&|>].*", word):
                return
            if word.startswith("-") or "=" in word or not re.fullmatch(r"[a-z][\w-]*", word):
                continue
            if not makefile.is_file():
                page.say(line, f"make in {makefile.parent}, which has no Makefile")
                return
            if makefile not in self.targets:
                self.targets[makefile] = targets(makefile)
            if word not in self.targets[makefile]:
                page.say(line, f"make has no target '{word}'")

    def block(self, page, block):
        run = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True)
        for number, what in re.findall(r"line (\d+): (.*)", run.stderr):
            page.say(block.line + int(number), what)
        joined, start = "", 0
        for number, line in enumerate(block.lines, block.line + 1):
            start = start or number
            joined += line.rstrip("\\") if line.endswith("\\") else line
            if not line.endswith("\\"):
                for part in re.split(r"&&|\|\||;|\||(?<=\$)\(|\(|&(?!\d)", joined):
                    self.command(page, start, part.strip())
                joined, start = "", 0


def check_other(page, block, work):
    if block.language == "python":
        try:
            ast.parse(block.text)
        except SyntaxError as error:
            page.say(block.line + (error.lineno or 1), error.msg)
    elif block.language == "json":
        try:
            json.loads(block.text)
        except ValueError as error:
            page.say(block.line + getattr(error, "lineno", 1), str(error))
    elif block.language == "cmake" and shutil.which("cmake"):
        file = work / "block.cmake"
        file.write_text("if(FALSE)\n" + block.text + "endif()\n")
        run = subprocess.run(["cmake", "-P", str(file)], capture_output=True, text=True)
        if run.returncode:
            page.say(block.line + 1, " ".join(run.stderr.split()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("--cc", default=os.environ.get("CC", "cc"))
    parser.add_argument("--cxx", default=os.environ.get("CXX", "c++"))
    parser.add_argument("--program", action="append", default=[], metavar="NAME=PATH")
    arguments = parser.parse_args()
    source = arguments.source.resolve()
    shell = Shell(source, dict(text.split("=", 1) for text in arguments.program))

    pages = {}
    for directory, below, files in os.walk(source):
        top = pathlib.Path(directory) == source
        below[:] = sorted(name for name in below if name != ".git" and not (top and name == "build"))
        for file in sorted(files):
            path = pathlib.Path(directory) / file
            if path.suffix == ".md":
                pages[path] = Page(path, str(path.relative_to(source)))

    blocks = 0
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        for page in pages.values():
            check_links(page, pages, source)
            for number, line in enumerate(page.path.read_text().splitlines(), 1):
                if MACHINE.search(line):
                    page.say(number, "a path of somebody's machine")
            for number, line in enumerate(page.prose, 1):
                for code in re.findall(r"`([^`]+)`", line):
                    if re.match(r"(?:make|\S*hapax-[a-z]+) ", code):
                        shell.command(page, number, code)
            for block in page.blocks:
                blocks += 1
                if block.quoted:
                    check_quote(page, block, source)
                elif block.output:
                    check_output(page, block, shell.programs)
                elif block.language == "sh":
                    shell.block(page, block)
                elif block.language in ("python", "json", "cmake"):
                    check_other(page, block, work)
                elif block.language not in UNCHECKED | {"c", "cpp"}:
                    page.say(block.line, f"a code block in the language '{block.language}', which nothing checks"
                             " ('text' if it is none)")
        compiled = check_compiled(pages, source, {"c": arguments.cc, "cpp": arguments.cxx}, work)

    bad = [f"{page.name}:{line}: {what}" for page in pages.values() for line, what in sorted(set(page.bad))]
    print("\n".join(bad) if bad else f"{len(pages)} pages, {blocks} code blocks, {compiled} of them compiled: they hold")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
