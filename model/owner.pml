/* SPDX-License-Identifier: MIT */
/* The owner word and its swaps, for all models. */

/*
 * A swap is one atomic step: it succeeds only if the word still is what it is expected to be.
 * With PLAIN_STORE it is what a program does that looks and then writes; the checker then has
 * to find the two runners.
 */
#ifdef PLAIN_STORE
#define SWAP(word, from, to, ok)                     \
	if                                           \
	:: word == from -> word = to; ok = true      \
	:: else -> ok = false                        \
	fi
#else
#define SWAP(word, from, to, ok)                     \
	atomic {                                     \
		if                                   \
		:: word == from -> word = to; ok = true \
		:: else -> ok = false                \
		fi                                   \
	}
#endif
