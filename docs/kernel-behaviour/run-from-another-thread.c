/* SPDX-License-Identifier: MIT */
/* A vCPU may be entered by one thread after another; the first entry of each costs more. */
#include <pthread.h>
#include <semaphore.h>

#include "fact_kvm.h"

enum {
	ROUNDS = 200
};

struct turns {
	struct fact_vm vm;
	sem_t go[2];
	double first[2 * ROUNDS], next[2 * ROUNDS];
	int failed;
};

struct turn {
	struct turns *all;
	int me;
};

static double run_us(struct turns *t)
{
	double start = fact_now_us();

	t->failed |= !fact_run(&t->vm);
	return fact_now_us() - start;
}

static void *take_turns(void *arg)
{
	const struct turn *t = arg;

	for (int i = 0; i < ROUNDS; i++) {
		while (sem_wait(&t->all->go[t->me]))
			;
		t->all->first[2 * i + t->me] = run_us(t->all);
		t->all->next[2 * i + t->me] = run_us(t->all);
		sem_post(&t->all->go[!t->me]);
	}
	return NULL;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v)
{
	qsort(v, 2 * ROUNDS, sizeof(*v), compare);
	return v[ROUNDS];
}

int main(void)
{
	static struct turns t;
	struct turn turns[2] = { { &t, 0 }, { &t, 1 } };
	pthread_t threads[2];

	t.vm = fact_vm();
	for (int i = 0; i < 2; i++)
		sem_init(&t.go[i], 0, i == 0);
	for (int i = 0; i < 2; i++)
		CHECK(!pthread_create(&threads[i], NULL, take_turns, &turns[i]));
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	CHECK(!t.failed);
	HOLDS("two threads took turns %d times; an entry after a change took %.0f us, the next one "
	      "%.0f us (medians)",
	      2 * ROUNDS, median(t.first), median(t.next));
}
