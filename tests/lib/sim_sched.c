/* SPDX-License-Identifier: MIT */
/*
 * Tasks are ucontext fibers on mapped stacks with a guard page; AddressSanitizer and valgrind are
 * told about the stacks.
 *
 * A deadlock is noticed by counting: a wait is no progress, everything else is.  When each task has
 * found many times over that it still has to wait, nothing can ever wake one.
 */
#include "config.h"

#include "tests/lib/sim_sched.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "tests/lib/sim_pages.h"

#if defined(__SANITIZE_ADDRESS__)
#define HAVE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_ASAN 1
#endif
#endif
#ifdef HAVE_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define VALGRIND_STACK_REGISTER(start, end) 0
#define VALGRIND_STACK_DEREGISTER(id)	    ((void)(id))
#endif

#define STACK_SIZE  (512u << 10)
#define GUARD_SIZE  4096u
#define STUCK_POLLS 64u

struct task {
	struct sim_sched *sched;
	const char *name;
	const char *doing;
	void (*fn)(void *arg);
	void *arg;
	uint64_t steps;
	unsigned waits; /* in a row, without progress of anybody */
	bool ended;
	char *stack;
	unsigned valgrind_id;
	void *fake_stack; /* AddressSanitizer's */
	ucontext_t context;
};

struct sim_sched {
	struct rng rng;
	struct task **task;
	unsigned ntasks, cap;
	uint64_t steps;
	char **spare; /* stacks of ended tasks */
	unsigned nspare;
	ucontext_t outside;
	const void *outside_stack;
	size_t outside_size;
	void *outside_fake;
	struct task *outer; /* that runs a step of this scheduler */
	struct task *only;  /* nobody else may run now */
};

/* One thread runs all schedulers; they nest. */
static _Thread_local struct task *current;

struct sim_sched *sim_sched_new(uint64_t seed)
{
	struct sim_sched *s = sim_calloc(1, sizeof(*s));

	s->rng.state = seed;
	return s;
}

void sim_sched_free(struct sim_sched *s)
{
	assert(!s->ntasks);
	for (unsigned i = 0; i < s->nspare; i++)
		munmap(s->spare[i], GUARD_SIZE + STACK_SIZE);
	free(s->spare);
	free(s->task);
	free(s);
}

static char *stack_take(struct sim_sched *s)
{
	if (s->nspare)
		return s->spare[--s->nspare];
	char *stack = mmap(NULL, GUARD_SIZE + STACK_SIZE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
	if (stack == MAP_FAILED || mprotect(stack, GUARD_SIZE, PROT_NONE)) {
		perror("simulated scheduler: stack");
		abort();
	}
	return stack;
}

/* Switch to a context whose stack is given; @fake keeps or gives up our own. */
static void switch_begin(void **fake, const void *stack, size_t size)
{
#ifdef HAVE_ASAN
	__sanitizer_start_switch_fiber(fake, stack, size);
#else
	(void)fake, (void)stack, (void)size;
#endif
}

static void switch_end(void *fake, const void **stack, size_t *size)
{
#ifdef HAVE_ASAN
	__sanitizer_finish_switch_fiber(fake, stack, size);
#else
	(void)fake, (void)stack, (void)size;
#endif
}

static void leave_task(struct task *t)
{
	struct sim_sched *s = t->sched;

	switch_begin(t->ended ? NULL : &t->fake_stack, s->outside_stack, s->outside_size);
	swapcontext(&t->context, &s->outside);
	switch_end(t->fake_stack, &s->outside_stack, &s->outside_size);
}

static void task_main(unsigned high, unsigned low)
{
	struct task *t = (struct task *)((uintptr_t)high << 32 | low);

	switch_end(NULL, &t->sched->outside_stack, &t->sched->outside_size);
	t->fn(t->arg);
	t->ended = true;
	leave_task(t);
	abort();
}

void sim_spawn(struct sim_sched *s, const char *name, void (*fn)(void *arg), void *arg)
{
	struct task *t = sim_calloc(1, sizeof(*t));
	uintptr_t p = (uintptr_t)t;

	*t = (struct task){.sched = s, .name = name, .doing = "start", .fn = fn, .arg = arg};
	t->stack = stack_take(s);
	t->valgrind_id =
		VALGRIND_STACK_REGISTER(t->stack + GUARD_SIZE, t->stack + GUARD_SIZE + STACK_SIZE);
	getcontext(&t->context);
	t->context.uc_stack.ss_sp = t->stack + GUARD_SIZE;
	t->context.uc_stack.ss_size = STACK_SIZE;
	t->context.uc_link = NULL;
	makecontext(&t->context, (void (*)(void))(uintptr_t)task_main, 2, (unsigned)(p >> 32),
		    (unsigned)p);
	if (s->ntasks == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 8;
		s->task = sim_realloc(s->task, s->cap, sizeof(struct task *));
	}
	s->task[s->ntasks++] = t;
}

static void task_free(struct sim_sched *s, struct task *t)
{
	VALGRIND_STACK_DEREGISTER(t->valgrind_id);
	s->spare = sim_realloc(s->spare, s->nspare + 1, sizeof(*s->spare));
	s->spare[s->nspare++] = t->stack;
	free(t);
}

static void enter_task(struct sim_sched *s, struct task *t)
{
	s->outer = current;
	current = t;
	switch_begin(&s->outside_fake, t->context.uc_stack.ss_sp, t->context.uc_stack.ss_size);
	swapcontext(&s->outside, &t->context);
	switch_end(s->outside_fake, NULL, NULL);
	current = s->outer;
}

static bool stuck(const struct sim_sched *s)
{
	for (unsigned i = 0; i < s->ntasks; i++)
		if (s->task[i]->waits < STUCK_POLLS)
			return false;
	return s->ntasks > 0;
}

enum sim_state sim_step(struct sim_sched *s)
{
	if (!s->ntasks)
		return SIM_DONE;

	unsigned i = (unsigned)rng_below(&s->rng, s->ntasks);
	while (s->only && s->task[i] != s->only)
		i = (i + 1) % s->ntasks;
	struct task *t = s->task[i];
	unsigned waits = t->waits;

	s->steps++;
	t->steps++;
	enter_task(s, t);
	if (t->waits == waits)
		for (unsigned k = 0; k < s->ntasks; k++)
			s->task[k]->waits = 0;
	if (t->ended) {
		s->task[i] = s->task[--s->ntasks];
		task_free(s, t);
	}
	if (!s->ntasks)
		return SIM_DONE;
	return stuck(s) ? SIM_STUCK : SIM_RUNNING;
}

enum sim_state sim_run(struct sim_sched *s, uint64_t max_steps)
{
	enum sim_state state = s->ntasks ? SIM_RUNNING : SIM_DONE;

	while (state == SIM_RUNNING && max_steps--)
		state = sim_step(s);
	return state;
}

unsigned sim_tasks(const struct sim_sched *s)
{
	return s->ntasks;
}

void sim_sched_dump(const struct sim_sched *s, FILE *out)
{
	fprintf(out, "%u tasks after %" PRIu64 " steps\n", s->ntasks, s->steps);
	for (unsigned i = 0; i < s->ntasks; i++)
		fprintf(out, "  %-12s %-10s %" PRIu64 " steps, %u waits\n", s->task[i]->name,
			s->task[i]->doing, s->task[i]->steps, s->task[i]->waits);
}

void sim_yield(const char *doing)
{
	struct task *t = current;

	if (!t)
		return;
	t->doing = doing;
	leave_task(t);
	assert(current == t);
}

bool sim_in_task(void)
{
	return current;
}

struct rng *sim_rng(void)
{
	static _Thread_local struct rng outside;

	return current ? &current->sched->rng : &outside;
}

static void wait_for_others(void *arg)
{
	(void)arg;
	if (!current) {
		fputs("simulated scheduler: a wait outside of any task would never end\n", stderr);
		abort();
	}
	current->waits++;
	sim_yield("wait");
}

/* One time in PAUSES: a group of records has many such places. */
#define PAUSES 4u

static void pause_here(void *arg)
{
	struct task *t = current;

	(void)arg;
	if (!t || rng_below(&t->sched->rng, PAUSES))
		return;
	t->sched->only = t;
	sim_yield("pause");
	t->sched->only = NULL;
}

bool sim_paused(const struct sim_sched *s)
{
	return s->only;
}

const struct image_wait_ops sim_wait_ops = {.wait = wait_for_others, .pause = pause_here};
