#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The weak collections of weakref: documents by name, notes attached to them, the set of open ones.
../weak_collections.c is the same."""
import gc
import weakref


# ---- system
class Document:
    def __init__(self, text):
        self.text = text


class Notes:
    def __init__(self, document):
        self.n = 0
        self.about = weakref.ref(document)


by_name = weakref.WeakValueDictionary()
notes_of = weakref.WeakKeyDictionary()
opened = weakref.WeakSet()


def write_document(name, text):
    document = by_name[name] = Document(text)
    return document


def add_note(document):
    notes_of.setdefault(document, Notes(document)).n += 1


# ---- story
def the_story():
    letter, copy = write_document("letter", "Dear all"), write_document("copy", "Dear all")
    assert by_name["letter"] is letter
    add_note(letter)
    add_note(letter)
    add_note(copy)
    assert notes_of[letter].n == 2 and notes_of[copy].n == 1
    opened.add(letter)
    opened.add(letter)
    opened.add(copy)
    print("two documents:", len(by_name), "names,", len(notes_of), "with notes,", len(opened), "open")
    del letter
    assert "letter" not in by_name and list(opened) == [copy]
    print("one let go of: ", len(by_name), "name,", len(notes_of), "with notes,", len(opened), "open")
    del copy
    assert len(by_name) + len(notes_of) + len(opened) == 0


the_story()


class Comparable(Document):
    def __eq__(self, other):
        return self.text == other.text

    def __hash__(self):
        return hash(self.text)


class Unhashable(Document):
    def __eq__(self, other):
        return self.text == other.text


def the_traps():
    letter, copy = Comparable("Dear all"), Comparable("Dear all")
    add_note(letter)
    add_note(copy)
    assert len(notes_of) == 1 and notes_of[letter].n == 2  # trap: equal documents share their notes
    del letter
    assert len(notes_of) == 0  # trap: and the copy's went with the letter
    try:
        add_note(Unhashable("Dear all"))  # trap
    except TypeError:
        pass
    else:
        assert False

    pinned = Document("Dear all")
    notes_of[pinned] = [pinned]  # trap: notes that hold their document; nothing names it
    del pinned
    gc.collect()
    assert len(notes_of) == 1
    notes_of.clear()
    print("traps: equal keys are one key, some are none, data that holds its key stays for ever")


the_traps()
