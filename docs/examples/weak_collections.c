/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The three weak collections (python/weak_collections.py: WeakValueDictionary, WeakKeyDictionary, WeakSet): documents
 * found by name, notes attached to documents, the set of documents that are open. None of them keeps a document alive.
 *
 * Python's weak keys are compared by equality: two documents with the same text are one key, and their notes get mixed
 * up; one without a hash is no key at all. Here a key is the object itself. In both, notes that hold their own
 * document pin it; here they hold it weakly, and if they do not, the leak report names them.
 */
#include <hapax/hapax.h>
#include <stdio.h>
#include <stdlib.h>

#define MUST(holds) ((holds) ? (void)0 : (printf("line %d: %s\n", __LINE__, #holds), exit(1)))

/* ---- system ------------------------------------------------------------------------------------------------------ */

struct document { char text[32]; };
struct notes {
	int n;
	hapax_weak *about; /* not a strong reference: the document keeps these notes, they must not keep it */
};
static int notes_gone;

static void notes_destroy(void *object, void *arg)
{
	(void)arg;
	(void)hapax_weak_drop(((struct notes *)object)->about);
	notes_gone++;
}
HAPAX_TYPE(document, struct document, .destroy = NULL);
HAPAX_TYPE(notes, struct notes, .destroy = notes_destroy);

static struct document *write_document(hapax_table *by_name, const char *name, const char *text)
{
	HAPAX_AUTO(struct document *) document = NULL;

	if (document_new(NULL, &document))
		return NULL;
	snprintf(document->text, sizeof(document->text), "%s", text);
	return document_table_put(by_name, HAPAX_STR(name), document) ? NULL : hapax_steal(document);
}

static int add_note(hapax_weak_map *notes_of, struct document *document)
{
	HAPAX_AUTO(struct notes *) notes = NULL;
	int status = notes_map_get(notes_of, document, &notes);

	if (status == HAPAX_MISS) {
		status = notes_new(NULL, &notes);
		if (!status)
			status = hapax_weak_new(document, NULL, &notes->about);
		if (!status)
			status = notes_map_put(notes_of, document, notes);
	}
	if (!status)
		notes->n++;
	return status;
}

/* ---- story ------------------------------------------------------------------------------------------------------- */

int main(void)
{
	HAPAX_AUTO_TABLE(by_name) = NULL;
	HAPAX_AUTO_WEAK_MAP(notes_of) = NULL;
	HAPAX_AUTO_WEAK_SET(opened) = NULL;
	HAPAX_AUTO_SET_ITER(iter) = NULL;
	struct document *letter, *copy, *found;
	struct notes *notes;
	void *each;
	bool added;
	int n = 0;

	MUST(hapax_table_create(&by_name, NULL) == HAPAX_OK && hapax_weak_map_create(&notes_of, NULL) == HAPAX_OK &&
	     hapax_weak_set_create(&opened, NULL) == HAPAX_OK);
	letter = write_document(by_name, "letter", "Dear all");
	copy = write_document(by_name, "copy", "Dear all");
	MUST(letter && copy);

	MUST(document_table_get(by_name, HAPAX_STR("letter"), &found) == HAPAX_OK && found == letter);
	document_release(found);

	MUST(add_note(notes_of, letter) == HAPAX_OK && add_note(notes_of, letter) == HAPAX_OK);
	MUST(add_note(notes_of, copy) == HAPAX_OK);
	MUST(notes_map_get(notes_of, letter, &notes) == HAPAX_OK && notes->n == 2);
	notes_release(notes);
	MUST(notes_map_get(notes_of, copy, &notes) == HAPAX_OK && notes->n == 1); /* same text, another key */
	notes_release(notes);

	MUST(hapax_weak_set_add(opened, letter, &added) == HAPAX_OK && added);
	MUST(hapax_weak_set_add(opened, letter, &added) == HAPAX_OK && !added);
	MUST(hapax_weak_set_add(opened, copy, NULL) == HAPAX_OK);
	printf("two documents: %zu names, %zu with notes, %zu open\n", hapax_table_size(by_name),
	       hapax_weak_map_size(notes_of), hapax_weak_set_size(opened));

	document_release(letter); /* its last reference, whatever collections it is in */
	MUST(notes_gone == 1);
	MUST(document_table_get(by_name, HAPAX_STR("letter"), &found) == HAPAX_MISS);
	MUST(hapax_weak_set_iterate(opened, &iter) == HAPAX_OK);
	while (hapax_weak_set_next(iter, &each) == HAPAX_OK) { /* may be changed meanwhile; what is given is held */
		MUST(each == copy);
		n++;
	}
	MUST(n == 1);
	printf("one let go of: %zu name, %zu with notes, %zu open\n", hapax_table_size(by_name),
	       hapax_weak_map_size(notes_of), hapax_weak_set_size(opened));
	document_release(copy);
	MUST(notes_gone == 2);
	MUST(hapax_table_size(by_name) + hapax_weak_map_size(notes_of) + hapax_weak_set_size(opened) == 0);
	return 0;
}
