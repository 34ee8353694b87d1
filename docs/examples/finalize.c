/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finalizers (python/finalize.py: weakref.finalize): a temporary directory that is removed with its object, or earlier
 * by hand, or not at all because somebody keeps it, or at the latest when the program ends.
 *
 * Python's finalizer keeps its arguments, and if one of them is the object, or a method of it, the object lives until
 * the program ends. Here `ctx` is whatever the finalizer needs; the object is not passed, cannot be revived, and is
 * never kept.
 */
#define _POSIX_C_SOURCE 200809L
#include <hapax/hapax.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MUST(holds) ((holds) ? (void)0 : (printf("line %d: %s\n", __LINE__, #holds), exit(1)))

static char removed[64]; /* what has been removed, in order: stands for the file system */

/* ---- system ------------------------------------------------------------------------------------------------------ */

struct directory { char name[16]; };
HAPAX_TYPE(directory, struct directory, .destroy = NULL);

static int remove_directory(void *name)
{
	snprintf(removed + strlen(removed), sizeof(removed) - strlen(removed), "%s ", (const char *)name);
	return 0;
}

/* A directory that is removed once, at the latest when the program ends. `end` may be NULL: it happens all the same. */
static struct directory *make_directory(const char *name, hapax_finalizer **end)
{
	HAPAX_AUTO(struct directory *) directory = NULL;
	hapax_finalize finalize = {remove_directory, strdup(name), free};

	if (!finalize.ctx || directory_new(NULL, &directory) ||
	    hapax_finalizer_new(directory, &finalize, HAPAX_FINALIZE_AT_EXIT, end)) {
		free(finalize.ctx);
		return NULL;
	}
	snprintf(directory->name, sizeof(directory->name), "%s", name);
	return hapax_steal(directory);
}

/* ---- story ------------------------------------------------------------------------------------------------------- */

static struct directory *first, *second;

/* Runs after the finalizers, for it was registered before the first of them. */
static void at_the_end(void)
{
	printf("program ended:  %s\n", removed);
	directory_release(first); /* their deaths run nothing any more */
	directory_release(second);
	fflush(stdout);
	if (strcmp(removed, "a b e d ")) /* newest first, each once */
		_exit(1);
}

int main(void)
{
	HAPAX_AUTO_FINALIZER(end) = NULL;
	HAPAX_AUTO_FINALIZER(kept) = NULL;
	struct directory *directory;
	hapax_finalize what;
	int result = -1;

	atexit(at_the_end);

	MUST((directory = make_directory("a", NULL)) != NULL);
	directory_release(directory);
	MUST(!strcmp(removed, "a "));
	printf("at death:       %s\n", removed);

	MUST((directory = make_directory("b", &end)) != NULL);
	MUST(hapax_finalizer_alive(end));
	MUST(hapax_finalizer_run(end, &result) == HAPAX_OK && result == 0); /* by hand, with the object alive */
	MUST(!strcmp(removed, "a b "));
	MUST(!hapax_finalizer_alive(end) && hapax_finalizer_run(end, NULL) == HAPAX_DEAD);
	directory_release(directory);
	MUST(!strcmp(removed, "a b "));
	printf("by hand:        %s\n", removed);

	MUST((directory = make_directory("c", &kept)) != NULL);
	MUST(hapax_finalizer_detach(kept, &what) == HAPAX_OK && !strcmp(what.ctx, "c"));
	free(what.ctx); /* ours again */
	directory_release(directory);
	MUST(!strcmp(removed, "a b "));
	printf("detached:       %s\n", removed);

	MUST((first = make_directory("d", NULL)) != NULL); /* still in use when the program ends */
	MUST((second = make_directory("e", NULL)) != NULL);
	return 0;
}
