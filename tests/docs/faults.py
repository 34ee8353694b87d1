#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""faults.py CHECK... SOURCE: pages with one fault each, and one without any; CHECK finds each of them, and nothing else."""
import pathlib
import subprocess
import sys
import tempfile

check, source = sys.argv[1:-1], pathlib.Path(sys.argv[-1]).resolve()

GOOD = '''# A `page`, of *its* own

## Twice
## Twice

[here](#a-page-of-its-own), [twice](good.md#twice-1), [a line](code/quoted.c#L2), [away](https://example.org/none), `[no](link)`.
![picture](code/picture.svg)

<!-- from: code/quoted.c -->
```c
int quoted;
	/* indented */
int part;
```

<!-- from: code/quoted.c part -->
```c
int part;
```

```c
#include <hapax/hapax.h>
int alone(hapax_cache *cache) { return (int)hapax_cache_size(cache); }
```

<!-- code: given: extern hapax_cache *cache; -->
```c
static size_t size(void) { return hapax_cache_size(cache); }
```

<!-- code: body continues -->
```c
size_t now = size();

printf("%zu\\n", now);
```

```cpp
std::unique_ptr<std::string> text;
```

```sh
make good && tool run --known --other=3 # make bad
make -C code good
```

```python
print("fine")
```

<!-- output: says -->
```text
two
```

```text
anything at all
```
'''

# page: its text, the line that is found out, a part of what is said
FAULTS = {
    "link": ("[a](none.md)\n", 1, "not there"),
    "anchor": ("[a](good.md#nowhere)\n", 1, "no such anchor"),
    "own-anchor": ("# One\n[a](#two)\n", 2, "no such anchor"),
    "anchor-in-code": ("```sh\n# Heading\n```\n[a](#heading)\n", 4, "no such anchor"),
    "line": ("[a](code/quoted.c#L900)\n", 1, "no such place"),
    "image": ("text ![a](code/none.svg)\n", 1, "not there"),
    "html-image": ('<img src="code/none.svg">\n', 1, "not there"),
    "absolute": ("[a](/etc/passwd)\n", 1, "absolute"),
    "outside": ("[a](../../etc)\n", 1, "outside"),
    "reference": ("[a]\n\n[a]: none.md\n", 3, "not there"),
    "machine": ("see /ho" "me/me/file\n", 1, "machine"),
    "c": ("\n```c\nint f(void)\n{\n\treturn nothing;\n}\n```\n", 5, "nothing"),
    "unchecked": ("<!-- code: body given: extern hapax_cache *cache; extern void *object; -->\n```c\n"
                  "hapax_cache_put(cache, HAPAX_STR(\"a\"), object);\n```\n", 3, "ignoring return value"),
    "types": ("<!-- code: body given: extern hapax_cache *cache; -->\n```c\n\nint *p = cache;\n```\n", 4, "incompatible"),
    "cpp": ("```cpp\nstd::string s = nothing;\n```\n", 2, "nothing"),
    "quote": ("<!-- from: code/quoted.c -->\n```c\nint quoted;\nint other;\n```\n", 4, "is not what"),
    "quote-short": ("<!-- from: code/quoted.c -->\n```c\nint quoted;\n```\n", 4, "is not what"),
    "quote-part": ("<!-- from: code/quoted.c whole -->\n```c\nint part;\n```\n", 2, "no such part"),
    "quote-file": ("<!-- from: code/none.c -->\n```c\nint part;\n```\n", 2, "not there"),
    "sh": ("```sh\nif true; then\n```\n", 3, "syntax error"),
    "make": ("```sh\nmake none\n```\n", 2, "no target 'none'"),
    "make-there": ("```sh\nmake -C code none\n```\n", 2, "no target 'none'"),
    "make-in-text": ("Try `make none`.\n", 1, "no target 'none'"),
    "option": ("```sh\ntool run --known --unknown\n```\n", 2, "no option --unknown"),
    "option-part": ("```sh\ntool run \\\n    --know\n```\n", 2, "no option --know"),
    "python": ("```python\nprint(\n```\n", 2, ""),
    "json": ("```json\n{]\n```\n", 2, ""),
    "output": ("<!-- output: tool -->\n```text\nanother\n```\n", 3, "is not what"),
    "output-of": ("<!-- output: none -->\n```text\nanother\n```\n", 2, "nothing is known"),
    "language": ("```\ntext\n```\n", 1, "language"),
    "word": ("<!-- code: bodi -->\n```c\nint i;\n```\n", 2, "unknown word"),
    "continues": ("<!-- code: continues -->\n```c\nint i;\n```\n", 2, "continues nothing"),
    "end": ("```text\nfor ever\n", 1, "does not end"),
}

with tempfile.TemporaryDirectory() as work:
    work = pathlib.Path(work).resolve()
    (work / "include").symlink_to(source / "include")
    (work / "code").mkdir()
    (work / "code" / "quoted.c").write_text("/* SPDX-License-Identifier: LGPL-2.1-or-later */\nint quoted;\n"
                                            "\t/* indented */\n/* [part] */\nint part;\n/* [/part] */\n")
    (work / "code" / "picture.svg").write_text("<svg/>")
    for makefile in (work / "Makefile", work / "code" / "Makefile"):
        makefile.write_text("X := none\ngood: other\nother:\n")
    tool = work / "tool"
    tool.write_text("#!/bin/sh\n[ \"$1\" = run ] && echo 'tool run [--known] [--other=N]'\n")
    tool.chmod(0o755)
    says = work / "says"
    says.write_text("#!/bin/sh\nprintf 'one\\ntwo\\n'\n")
    says.chmod(0o755)
    (work / "good.md").write_text(GOOD)
    for name, (text, _, _) in FAULTS.items():
        (work / f"{name}.md").write_text(text)
    run = subprocess.run([*check, "--program", f"tool={tool}", "--program", f"says={says}", str(work)],
                         capture_output=True, text=True)

said = run.stdout.splitlines()
bad = [] if run.returncode == 1 else [f"exit status {run.returncode}: {run.stdout}{run.stderr}"]
for name, (_, line, what) in FAULTS.items():
    if not any(text.startswith(f"{name}.md:{line}: ") and what in text for text in said):
        bad.append(f"not found: {name} ({[text for text in said if text.startswith(name + '.md:')]})")
bad += [f"not meant: {text}" for text in said if text.split(".md:")[0] not in FAULTS]
print("\n".join(bad) or f"{len(FAULTS)} faults, each found; nothing said of a page without")
sys.exit(1 if bad else 0)
