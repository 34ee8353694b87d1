#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""headerdoc.py: reads the public headers: functions, types and macros with the comments that speak of them.

How headers are written, and so how they are read: a comment right before a declaration speaks of it, and of the functions
that follow it without a comment of their own and without an empty line. A comment `---- text ----` begins a part. What stands
before the first declaration, in the comment that begins "hapax/NAME.h - ", is about the whole header.
"""
import dataclasses
import pathlib
import re

NOT_DOCUMENTED = {"testing.h", "hapax.h"}


@dataclasses.dataclass
class Item:
    kind: str  # function, type, macro, inline
    names: list
    code: str
    header: str
    group: "Group"
    text: list = dataclasses.field(default_factory=list)  # its own comment, else its group's: paragraphs of lines


@dataclasses.dataclass
class Group:
    text: list
    items: list


@dataclasses.dataclass
class Header:
    name: str
    summary: str = ""
    intro: list = dataclasses.field(default_factory=list)
    items: list = dataclasses.field(default_factory=list)


def comment_lines(raw):
    """The lines of a comment without its marks; indentation after ` * ` is kept."""
    body = re.sub(r"^/\*+ ?|\s*\*/\s*$", "", raw.strip())
    return [re.sub(r"^\s*\* ?", "", line).rstrip() if number else line.rstrip() for number, line in enumerate(body.split("\n"))]


def function_name(code):
    flat = " ".join(code.split())
    return re.search(r"\b(hapax_\w+)\(", re.sub(r"__attribute__\(\(.*?\)\)", "", flat)).group(1)


def take(lines, i, ends):
    """From line i up to the first for which ends(text so far, line) is true."""
    text = []
    while i < len(lines):
        text.append(lines[i])
        i += 1
        if ends(text):
            break
    return "\n".join(text), i


def balanced(text):
    joined = re.sub(r"/\*.*?\*/", "", "\n".join(text), flags=re.S)
    if "/*" in joined:
        return False
    return joined.count("{") == joined.count("}") and joined.count("(") == joined.count(")")


def declaration_ends(text):
    return balanced(text) and re.sub(r"/\*.*?\*/", "", "\n".join(text), flags=re.S).rstrip().endswith(";")


def body_ends(text):
    return balanced(text) and text[-1].rstrip().endswith("}")


def parse(path):
    header = Header(path.name)
    lines = path.read_text().split("\n")
    i = 0
    group = None
    while i < len(lines):
        line = lines[i]
        if not line.strip():
            group = None
            i += 1
        elif line.startswith("/*"):
            raw, i = take(lines, i, lambda text: "*/" in text[-1])
            text = comment_lines(raw)
            first = next((part for part in text if part.strip()), "")
            if "SPDX-License" in raw or "clang-format" in raw:
                continue
            if first.startswith(f"hapax/{path.name} - "):
                text = text[text.index(first):]
                stop = next((n for n, part in enumerate(text) if not part.strip()), len(text))
                header.summary = " ".join(part.strip() for part in text[:stop]).split(" - ", 1)[1].rstrip(".")
                header.intro = text[stop:]
                group = None
            elif first.startswith("----"):
                group = None
            else:
                group = Group(text, [])
        elif line.startswith("#define"):
            raw, i = take(lines, i, lambda text: not text[-1].endswith("\\"))
            name = re.match(r"#define\s+(\w+)", raw).group(1)
            if not name.endswith("_H"):
                group = group or Group([], [])
                add(header, group, "macro", [name], raw)
        elif line.startswith("#"):
            i += 1
        elif line.startswith("HAPAX_API"):
            raw, i = take(lines, i, declaration_ends)
            group = group or Group([], [])
            add(header, group, "function", [function_name(raw)], raw)
        elif line.startswith(("static inline", "HAPAX_TYPED", "__attribute__")):
            raw, i = take(lines, i, body_ends)
            group = group or Group([], [])
            add(header, group, "inline", [function_name(raw)], raw)
        elif line.startswith(("typedef", "struct", "enum", "union")):
            raw, i = take(lines, i, declaration_ends)
            group = group or Group([], [])
            add(header, group, "type", type_names(raw), raw)
        else:
            i += 1
    return header


def type_names(raw):
    code = re.sub(r"/\*.*?\*/", "", raw, flags=re.S)
    names = re.findall(r"\(\*(\w+)\)\(", code[: code.index(")(") + 2]) if re.match(r"typedef[^{]*\(\*", code) else []
    names += re.findall(r"^(?:typedef )?(?:struct|enum|union) (hapax_\w+)", code)
    names += re.findall(r"\}\s*(hapax_\w+);", code)
    names += re.findall(r"^typedef [^{(]*?\b(hapax_\w+);", code)
    return list(dict.fromkeys(names))


def add(header, group, kind, names, raw):
    item = Item(kind, names, raw, header.name, group, group.text)
    group.items.append(item)
    header.items.append(item)


class Library:
    """All headers of a directory."""

    def __init__(self, directory):
        self.headers = {}
        self.functions = {}
        self.types = {}
        umbrella = (directory / "hapax.h").read_text()
        order = re.findall(r"#include <hapax/(\w+\.h)>", umbrella)
        rest = sorted(path.name for path in directory.glob("*.h") if path.name not in order)
        for name in order + rest:
            if name in NOT_DOCUMENTED:
                continue
            header = parse(directory / name)
            self.headers[name] = header
            for item in header.items:
                if item.kind == "function":
                    # object.h declares others' functions once more for its macros: the later one is the real one
                    self.functions[item.names[0]] = item
                elif item.kind == "type":
                    for type_name in item.names:
                        if type_name not in self.types or "{" in item.code or "(*" in item.code:
                            self.types[type_name] = item
        self.statuses = re.findall(r'X\((HAPAX_\w+),\s*(-?\d+), "(.*?)"\)', (directory / "status.h").read_text())

    def of_header(self, name):
        return [item for item in self.headers[name].items if item.kind == "function" and self.functions[item.names[0]] is item]


def mapped(map_file):
    return sorted(re.findall(r"^\t(hapax_\w+);", pathlib.Path(map_file).read_text(), re.M))
