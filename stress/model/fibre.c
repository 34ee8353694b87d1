/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * model/fibre.c - switching stacks. On x86-64 by hand: a system call per switch, as swapcontext() makes, would be most
 * of the cost of a step.
 */
#include "model/engine.h"

#include <stdlib.h>
#include <string.h>

#ifdef __x86_64__

/* Saves what a call preserves on the old stack, and takes it from the new one. */
__asm__(".text\n"
	".p2align 4\n"
	".globl fibre_switch\n"
	".type fibre_switch,@function\n"
	"fibre_switch:\n"
	"	pushq %rbp\n"
	"	pushq %rbx\n"
	"	pushq %r12\n"
	"	pushq %r13\n"
	"	pushq %r14\n"
	"	pushq %r15\n"
	"	movq %rsp, (%rdi)\n"
	"	movq %rsi, %rsp\n"
	"	popq %r15\n"
	"	popq %r14\n"
	"	popq %r13\n"
	"	popq %r12\n"
	"	popq %rbx\n"
	"	popq %rbp\n"
	"	ret\n"
	".size fibre_switch,.-fibre_switch\n");

void fibre_prepare(struct fibre *fibre, void (*entry)(void))
{
	void **top = (void **)(void *)(fibre->stack + ARENA_STACK);

	*--top = NULL; /* where a return address would be: the frame of `entry` is aligned, and walks end here */
	*--top = (void *)(uintptr_t)entry;
	for (int i = 0; i < 6; i++)
		*--top = NULL;
	fibre->sp = top;
}

#else

#include <ucontext.h>

static ucontext_t contexts[FIBRES + 1];

void fibre_prepare(struct fibre *fibre, void (*entry)(void))
{
	ucontext_t *context = &contexts[fibre->index];

	getcontext(context);
	context->uc_stack.ss_sp = fibre->stack;
	context->uc_stack.ss_size = ARENA_STACK;
	context->uc_link = NULL;
	makecontext(context, entry, 0);
	fibre->sp = context;
}

void fibre_switch(void **from, void *to)
{
	struct fibre *fibre = (struct fibre *)(void *)((char *)from - offsetof(struct fibre, sp));
	ucontext_t *context = from == &engine.back ? &contexts[FIBRES] : &contexts[fibre->index];

	*from = context;
	swapcontext(context, to);
}

#endif
