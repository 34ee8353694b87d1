/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guard.c - touching mapped bytes that may be gone.
 *
 * Problem. A mapping of a file that has shrunk raises SIGBUS where it is touched. read() would avoid that, but users of
 * a mapped file touch the mapping, so the demo does too.
 *
 * Mapped bytes are only ever touched here, by one memcpy() into the caller's buffer; digests and checksums are computed
 * from the buffer. So the jump out of the handler leaves nothing but memcpy(): no digest half done, no lock held, no
 * frame of hapax skipped. A SIGBUS from anywhere else finds no guard and kills the process as usual.
 */
#include "files.h"

#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

static _Thread_local sigjmp_buf *volatile guard;

static void on_sigbus(int signal_number, siginfo_t *info, void *context)
{
	(void)info;
	if (guard) {
		/* the mask as it was: done here, where it is rare, sigsetjmp() need not save it for every copy */
		pthread_sigmask(SIG_SETMASK, &((ucontext_t *)context)->uc_sigmask, NULL);
		siglongjmp(*guard, 1);
	}
	/* back to the instruction that raised it, which now kills the process with the right address in the core */
	signal(signal_number, SIG_DFL);
}

void hpx_guard_install(void)
{
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_sigaction = on_sigbus;
	action.sa_flags = SA_SIGINFO;
	sigemptyset(&action.sa_mask);
	sigaction(SIGBUS, &action, NULL);
}

int hpx_guarded_copy(void *to, const void *from, size_t size)
{
	sigjmp_buf here;

	if (sigsetjmp(here, 0)) {
		guard = NULL;
		return -1;
	}
	guard = &here;
	memcpy(to, from, size);
	guard = NULL;
	return 0;
}
