/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cache/completions.h - the producing side of a queue of completions. */
#ifndef HPX_COMPLETIONS_H
#define HPX_COMPLETIONS_H

#include <hapax/async.h>

/* A get is under way that will end in the queue: it stays until then, destroyed or not. */
void hpx_completions_expect(hapax_completions *queue);
/* It has ended: `completion` is filled in and queued, or the result is given back if the queue has been destroyed (then
 * the completion is not touched). Consumes object and error. Outside locks and sections. */
void hpx_completions_put(hapax_completions *queue, hapax_completion *completion, int status, void *object,
			 hapax_load_error *error);
/* It never began. */
void hpx_completions_forget(hapax_completions *queue);

#endif
