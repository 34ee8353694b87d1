#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""manpages.py --source DIR --out DIR --version V --date SECONDS [--program NAME=PATH]...: the man pages.

Section 3: one page for every function of the public headers, and one for every header, made of their comments (headerdoc.py).
Section 7: hapax(7), and section 1: what --help of the programs says; both put into what is written by hand in man/*.in.
man/names gives the line by which apropos(1) finds a function; without one it is the first sentence of its comment.

Fails, and says why, when a public function has no comment, is not in lib/hapax.map or not declared, or when a comment refers to a
function or status that there is not.
"""
import argparse
import pathlib
import re
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import headerdoc  # noqa: E402

KEY_ERRORS = ["HAPAX_EKEY", "HAPAX_EKEYSIZE", "HAPAX_EHASH"]
LABELS = "Owns|Thread|Section|Blocks|Order"
bad = []


# ---- text to mdoc -----------------------------------------------------------------------------------------------------

def escape(text):
    return text.replace("\\", "\\e").replace("-", "\\-")


def guard(line):
    """A line that begins like a request must not be one."""
    return "\\&" + line if line[:1] in (".", "'") else line


def words(text):
    """One line of running text, with functions and variables set off."""
    text = text.replace("\\", "\\e")
    text = re.sub(r"`([^`]+)`", lambda m: "\\fI" + m.group(1) + "\\fR", text)
    text = re.sub(r"\b(hapax_\w+)\(\)", r"\\fB\1\\fR()", text)
    return guard(text)


def sentences(text):
    """New sentence, new line: what follows a full stop and begins like a sentence."""
    return re.split(r"(?<=[A-Za-z0-9)\"`][.?!:]) (?=[A-Z`*])", text)


def is_display(line):
    return line.startswith("   ")


def prose(lines):
    """Paragraphs of a comment. What is indented is shown as it is."""
    out, running, display = [], [], []

    def flush():
        if running:
            out.extend(words(part) for part in sentences(" ".join(running)))
            running.clear()
        if display:
            out.append(".Bd -literal -offset 2n")
            out.extend(guard(escape(part)) for part in display)
            out.append(".Ed")
            display.clear()

    for line in lines + [""]:
        if not line.strip():
            had = bool(running or display)
            flush()
            if had:
                out.append(".Pp")
        elif is_display(line):
            if running:
                flush()
            display.append(line[3:])
        else:
            if display:
                flush()
            running.append(line.strip())
    while out and out[-1] == ".Pp":
        out.pop()
    return out


def literal(code):
    lines = code.expandtabs(8).split("\n")
    return [".Bd -literal"] + [guard(escape(line.rstrip())) or "\\&" for line in lines] + [".Ed"]


# ---- what a comment says ----------------------------------------------------------------------------------------------

def flat(lines):
    return " ".join(line.strip() for line in lines if line.strip())


def labelled(lines):
    """("Thread", "any.") and so on, as they stand in a comment."""
    found = []
    for match in re.finditer(rf"\b((?:{LABELS})(?:, (?:owns|thread|section|blocks|order))*): (.*?)(?=(?: (?:{LABELS}|Fails)(?:, \w+)*:)|$)", flat(lines)):
        text = re.split(r"(?<=[.)]) (?=[A-Z`])", match.group(2))[0]
        found.append((match.group(1), text))
    return found


def without_labels(lines):
    """The comment without those, and without the list of errors, which have sections of their own."""
    out = []
    for paragraph in "\n".join(lines).split("\n\n"):
        if any(is_display(line) for line in paragraph.split("\n")):
            out += paragraph.split("\n") + [""]
            continue
        text = flat(paragraph.split("\n"))
        text = re.sub(rf"(^|(?<=[.;)] ))(?:{LABELS})(?:, \w+)*: .*?(?:\.(?= [A-Z`])|\.$)", "", text)
        out += [" ".join(text.split()), ""]
    return out


def statuses_in(text):
    return list(dict.fromkeys(re.findall(r"\bHAPAX_[A-Z]+\b", text)))


class Pages:
    def __init__(self, source, date, version):
        self.library = headerdoc.Library(source / "include" / "hapax")
        self.status = {name: (int(value), text) for name, value, text in self.library.statuses}
        self.date = time.strftime("%B %-d, %Y", time.gmtime(date))
        self.version = version
        self.names = dict(
            line.split("\t", 1) for line in (source / "man" / "names").read_text().splitlines() if line and line[0] != "#"
        )
        for name in self.names:
            if name not in self.library.functions:
                bad.append(f"man/names: {name} is no public function")

    def head(self, title, section, name, line):
        return [
            '.\\" Made by scripts/manpages.py.', '.\\" SPDX-License-Identifier: LGPL-2.1-or-later',
            f".Dd {self.date}", f".Dt {title.upper()} {section}", f".Os hapax {self.version}",
            ".Sh NAME", f".Nm {name}", f".Nd {line}",
        ]

    # -- references between comments

    def referred(self, item):
        """The function that a comment says this one is like: "As hapax_cache_close()", "Fails: as hapax_table_put()"."""
        found = []
        for name in re.findall(r"\b(?:[Aa]s(?: of)?|and) (hapax_\w+)\b(?!\.h)", flat(item.text)):
            if name in self.library.functions and name not in item.names and name not in found:
                found.append(name)
        return found

    def errors_of(self, name, seen=()):
        """Statuses named in the comment, and those of the functions that it fails like."""
        item = self.library.functions[name]
        text = flat(item.text)
        found = [status for status in statuses_in(text) if status in self.status]
        if re.search(r"\bkey errors?\b", text):
            found += KEY_ERRORS
        for other in re.findall(r"(?:[Ff]ails|errors?|[Ee]rrors|hash)\b[^.]*?\b[Aa]s(?: of)? (hapax_\w+)", text):
            if other in self.library.functions and other not in seen and other != name:
                found += self.errors_of(other, (*seen, name))
            elif other not in self.library.functions:
                bad.append(f"include/hapax/{item.header}: {name} fails like {other}, which there is not")
        for other in self.quoted(item):
            if other not in seen:
                found += self.errors_of(other, (*seen, name))
        return list(dict.fromkeys(found))

    def types_of(self, code):
        """Definitions that a prototype needs, and the function types in those."""
        def direct(text, found):
            text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
            for name in re.findall(r"\b(hapax_\w+)\b", text):
                item = self.library.types.get(name)
                if item and item not in found and ("{" in item.code or "(*" in item.code):
                    found.append(item)
            return found

        found = direct(code, [])
        for item in list(found):
            for more in direct(item.code, []):
                if more not in found and "(*" in more.code.split("{")[0]:
                    found.append(more)
        return [item for item in found if item.names[0] not in ("hapax_status", "hapax_type", "hapax_policy")]

    # -- pieces of pages

    def one_line(self, item):
        name = item.names[0]
        if name in self.names:
            return self.names[name]
        text = re.split(r"(?<=[a-z)])[.:;] |(?<=[a-z)])\.$", flat(item.text))[0]
        text = re.sub(r"\s*\([^()]*\)", "", text).replace("`", "").rstrip(".:")
        if len(text) > 100:
            text = text[:100].rsplit(" ", 1)[0]
        return guard(text[:1].lower() + text[1:] if text[1:2].islower() else text)

    def prototype(self, item):
        code = " ".join(re.sub(r"/\*.*?\*/", "", item.code, flags=re.S).split())
        code = re.sub(r"^HAPAX_API |HAPAX_MUST_CHECK ", "", code).rstrip(";")
        name = item.names[0]
        result, rest = code.split(name + "(", 1)
        arguments, depth, current = [], 0, ""
        for char in rest[: rest.rindex(")")]:
            depth += char in "(["
            depth -= char in ")]"
            if char == "," and depth == 0:
                arguments.append(current)
                current = ""
            else:
                current += char
        arguments.append(current)
        out = [f'.Ft "{result.strip()}"', f".Fo {name}"]
        out += [f'.Fa "{argument.strip()}"' for argument in arguments]
        return out + [".Fc"]

    def general(self, header):
        """What the header says of all its calls."""
        return re.findall(r"(Section, for every call here: .*?\.)(?= [A-Z]|$)", flat(self.library.headers[header].intro))

    def function(self, item):
        name, header = item.names[0], item.header
        page = self.head(name, 3, name, self.one_line(item))
        page += [".Sh LIBRARY", "hapax (libhapax, \\-lhapax; pkg\\-config: hapax)", ".Sh SYNOPSIS", f".In hapax/{header}"]
        together = [other for other in item.group.items if other.kind == "function"]
        for other in together:
            page += self.prototype(other)
        page += [".Sh DESCRIPTION"] + (prose(without_labels(item.text)) or ["See below."])
        for other in self.quoted(item):
            page += [".Pp", f"Of \\fB{other}\\fR() is said:", ".Bd -filled -offset 2n"]
            page += prose(without_labels(self.library.functions[other].text)) + [".Ed"]
        for shown in self.types_of(item.code):
            page += [f".Ss {shown.names[-1]}"] + prose(shown.text)
            page += literal(shown.code)
        page += self.results(item)
        page += self.threads(item)
        return page + self.see_also(item, together)

    def quoted(self, item):
        """A comment that begins "As hapax_x()" is only understood together with what is said of that."""
        if not re.match(r"(As|The same|Iteration, as)\b", flat(item.text)):
            return []
        suffix = item.names[0].rsplit("_", 1)[-1]
        others = self.referred(item)
        if flat(item.text).startswith("The same") and not others:
            siblings = [other.names[0] for other in self.library.of_header(item.header)]
            here = siblings.index(item.names[0])
            others = siblings[here - 1 : here]
        alike = [other for other in others if other.endswith("_" + suffix)]
        return alike[:1] or others[:1]

    def results(self, item):
        codes = self.errors_of(item.names[0]) if re.search(r"\bint\s+hapax_", item.code) else []
        outcomes = [code for code in codes if self.status[code][0] > 0]
        errors = [code for code in codes if self.status[code][0] < 0]
        page = []
        returns_int = re.match(r"HAPAX_API (HAPAX_MUST_CHECK )?int\b", " ".join(item.code.split()))
        if returns_int and (outcomes or (errors and "HAPAX_MUST_CHECK" in item.code)) and not re.search(r"\b1 (if|present)", flat(item.text)):
            page += [".Sh RETURN VALUES", "0", "(\\fBHAPAX_OK\\fR) when it was done"]
            page[-1] += ", a negative number for an error" if errors else ""
            page[-1] += "; else one of" if outcomes else "."
            page += self.code_list(outcomes)
        if errors:
            page += [".Sh ERRORS"] + self.code_list(errors)
        return page

    def code_list(self, codes):
        if not codes:
            return []
        page = [".Bl -tag -width Ds"]
        for code in codes:
            value, text = self.status[code]
            page += [f".It Dv {code} Pq {value}".replace("-", "\\-"), words(text[0].upper() + text[1:] + ".")]
        return page + [".El"]

    def threads(self, item):
        page = [".Sh THREADS AND SECTIONS"]
        found = labelled(item.text)
        if found:
            page.append(".Bl -tag -width Ds")
            for label, text in found:
                page += [f".It {label}", words(text[0].upper() + text[1:].rstrip(". ") + ".")]
            page.append(".El")
        page += [words(text) for text in self.general(item.header)] if not any(label == "Section" for label, _ in found) else []
        if len(page) == 1:
            page.append("Any thread, unless said otherwise above.")
        page += [".Pp", "What these words mean is said in", ".Xr hapax 7 ."]
        return page

    def see_also(self, item, together):
        names = [other.names[0] for other in together] + self.referred(item)
        names += [name for name in re.findall(r"\b(hapax_\w+)\b", flat(item.text)) if name in self.library.functions]
        siblings = [other.names[0] for other in self.library.of_header(item.header)]
        here = siblings.index(item.names[0])
        names += siblings[max(0, here - 4) : here + 5]
        references = sorted({(name, "3") for name in names if name != item.names[0]})
        references.append((f"hapax_{item.header}", "3"))
        references.sort(key=lambda reference: (reference[1], reference[0]))
        references.append(("hapax", "7"))
        return [".Sh SEE ALSO"] + [
            f".Xr {name} {section}" + (" ," if n + 1 < len(references) else "") for n, (name, section) in enumerate(references)
        ]

    def header_page(self, header):
        name = f"hapax_{header.name}"
        page = self.head(name, 3, name, header.summary)
        page += [".Sh LIBRARY", "hapax (libhapax, \\-lhapax; pkg\\-config: hapax)", ".Sh SYNOPSIS", f".In hapax/{header.name}"]
        page += [".Sh DESCRIPTION"] + (prose(header.intro) or [words(header.summary[0].upper() + header.summary[1:] + ".")])
        functions = self.library.of_header(header.name)
        if functions:
            page += [".Ss Functions", ".Bl -tag -width Ds"]
            for item in functions:
                page += [f".It Xr {item.names[0]} 3", guard(self.one_line(item))]
            page.append(".El")
        rest = [item for item in header.items if item.kind != "function"]
        rest = [item for item in rest if not re.fullmatch(r"(typedef )?struct \w+( \w+)?;", item.code.strip())]
        if rest:
            page.append(".Ss Types, constants, macros and inline functions")
        shown = None
        for item in rest:
            if item.group is not shown:
                page += ([".Pp"] if shown else []) + prose(item.text)
                shown = item.group
            code = item.code
            if item.kind == "inline":
                code = re.split(r"\)\s*\{", code, maxsplit=1)[0] + ");"
            page += literal(code)
        page += [".Sh SEE ALSO", ".Xr hapax 7"]
        return page

    def overview(self, template):
        headers = [".Bl -tag -width Ds"]
        for header in self.library.headers.values():
            headers += [f".It In hapax/{header.name}", words(header.summary[0].upper() + header.summary[1:] + "."),
                        f"See", f".Xr hapax_{header.name} 3 ."]
        headers.append(".El")
        statuses = [".Bl -tag -width Ds"]
        for code, (value, text) in self.status.items():
            statuses += [f".It Dv {code} Pq {value}".replace("-", "\\-"), words(text[0].upper() + text[1:] + ".")]
        statuses.append(".El")
        return fill(template, self.date, self.version, {"HEADERS": headers, "STATUSES": statuses})


# ---- programs ---------------------------------------------------------------------------------------------------------

def fill(template, date, version, parts):
    out = []
    for line in template.split("\n"):
        part = re.fullmatch(r"@(\w+)@", line.strip())
        if part:
            out += parts[part.group(1)]
        else:
            out.append(line.replace("@DATE@", date).replace("@VERSION@", version))
    return out


def asked(program, *arguments):
    done = subprocess.run([*program.split(), *arguments, "--help"], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0 or not done.stdout:
        sys.exit(f"{program} {' '.join(arguments)} --help failed: {done.stderr}")
    return done.stdout


def options_of(text):
    return sorted(set(re.findall(r"(?<![\w-])(--?[a-z][a-z0-9-]*)", text)))


def help_to_mdoc(text):
    """Usage lines and tables as they are, options as a list, the rest as running text."""
    out, display, in_list = [], [], False

    def close():
        nonlocal in_list
        if display:
            while display and not display[-1].strip():
                display.pop()
            if display:
                out.extend([".Bd -literal"] + [guard(escape(line)) or "\\&" for line in display] + [".Ed"])
            display.clear()
        if in_list:
            out.append(".El")
            in_list = False

    usage = False
    for line in text.rstrip().split("\n"):
        option = re.match(r"^  ((?:-\w, )?--?[a-z][\w-]*(?:[ =][A-Z]+)?)(?:\s+(.*))?$", line)
        if re.match(r"[Uu]sage:", line):
            close()
            usage = True
            display.append(line)
        elif not line.strip():
            usage = False
            close()
            if out and out[-1] != ".Pp":
                out.append(".Pp")
        elif usage and line[0] == " ":
            display.append(line)
        elif option and not display:
            if not in_list:
                close()
                out.append(".Bl -tag -width Ds")
                in_list = True
            out.append(".It " + escape(option.group(1)))
            out.append(words(option.group(2) or ""))
        elif in_list and re.match(r"^\s{20,}\S", line):
            text = line.strip()
            if "  " in text:
                out += [".br", words(re.sub(r"\s{2,}", ": ", text))]
            else:
                out.append(words(text))
        elif line[0] == " ":
            close() if in_list else None
            display.append(line)
        else:
            usage = False
            close()
            if re.fullmatch(r"\w+:", line.strip()):
                continue # "Options:", before a list
            out.extend(words(part) for part in sentences(line.strip()))
    close()
    while out and out[-1] == ".Pp":
        out.pop()
    while out and out[0] == ".Pp":
        out.pop(0)
    return [line for line in out if line]


def program_page(program, template, date, version):
    top = asked(program)
    parts = {"HELP": help_to_mdoc(top), "COMMANDS": []}
    for command in re.findall(r"^  ([a-z]+) {2,}\S", top.split("Commands:", 1)[1], re.M) if "Commands:" in top else []:
        parts["COMMANDS"] += [f".Ss {command}"] + help_to_mdoc(asked(program, command))
    return fill(template, date, version, parts)


# ---- all ----------------------------------------------------------------------------------------------------------------

def write(directory, name, lines):
    section = name.rsplit(".", 1)[1]
    path = directory / f"man{section}" / name
    # displays and sections bring their own distance
    lines = [line for n, line in enumerate(lines) if not (line == ".Pp" and lines[n + 1][:3] in (".Bd", ".Sh", ".Ss", ".Bl"))]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines).rstrip() + "\n")
    return path


def check(pages, source):
    library = pages.library
    mapped = set(headerdoc.mapped(source / "lib" / "hapax.map"))
    for name in sorted(mapped - set(library.functions)):
        bad.append(f"lib/hapax.map: {name} is declared in no header")
    for name, item in library.functions.items():
        where = f"include/hapax/{item.header}: {name}"
        if name not in mapped:
            bad.append(f"{where} is not in lib/hapax.map")
        if not flat(item.text):
            bad.append(f"{where} has no comment")
        for status in statuses_in(flat(item.text)):
            if re.match(r"HAPAX_E[A-Z]+$", status) and status not in pages.status and status != "HAPAX_ENV":
                bad.append(f"{where}: {status} is no status")
        for other in re.findall(r"\b(hapax_\w+)\(\)", flat(item.text)):
            if other not in library.functions and not any(other in i.names for h in library.headers.values() for i in h.items):
                bad.append(f"{where}: {other}() is no function")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--source", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--date", type=int, required=True, help="seconds since 1970")
    parser.add_argument("--program", action="append", default=[], help="NAME=COMMAND; only these pages then")
    given = parser.parse_args()

    pages = Pages(given.source, given.date, given.version)
    if given.program:
        for program in given.program:
            name, command = program.split("=", 1)
            template = (given.source / "man" / f"{name}.1.in").read_text()
            write(given.out, f"{name}.1", program_page(command, template, pages.date, pages.version))
        return 0
    check(pages, given.source)
    made = {f"{name}.3": pages.function(item) for name, item in pages.library.functions.items()}
    made.update({f"hapax_{header.name}.3": pages.header_page(header) for header in pages.library.headers.values()})
    made["hapax.7"] = pages.overview((given.source / "man" / "hapax.7.in").read_text())
    if bad:
        print("\n".join(dict.fromkeys(bad)), file=sys.stderr)
        return 1
    for name, page in made.items():
        write(given.out, name, page)
    print(f"{len(pages.library.functions)} functions, {len(pages.library.headers)} headers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
