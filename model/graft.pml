/* SPDX-License-Identifier: MIT */
/*
 * cpr-graft: two images in one address space, and the verdict word.
 *
 * The new image runs in a child that shares the memory; the process has a main thread and
 * vCPU threads (two here, the second may be late). Once the guest is stopped the vCPU threads wait
 * for the verdict: NEW, set by the child's main thread as its last act, sends them into the new image, OLD, set
 * by the old image's main thread to give up, back into the old one. Modelled beside the steps:
 *
 *	- the child exits, crashes or is killed at any moment before its last act;
 *	- it hangs, for a while or for ever; the old image kills it when it gives up;
 *	- a step fails, on either side;
 *	- every deadline may pass as soon as it is set.
 *
 * A crash of the process itself loses the guest with its only owner, and is no case of its own.
 */
#include "owner.pml"

mtype = { OPEN, OLD, NEW };

mtype verdict = OPEN;
bool ready;          /* the child has built its machine               */
bool offered;        /* the state is there for it                     */
bool child_dead, child_hangs;
bool stopped;        /* the vCPU threads are told to leave the guest  */
byte left;           /* so many have                                  */
bool runs_old[2] = true, runs_new[2];
bool old_over;       /* the old image has its guest back              */
bool new_over;       /* the main thread is the new image's            */
bool loaded;

#define two_images ((runs_old[0] || runs_old[1]) && (runs_new[0] || runs_new[1]))
#define may_child (!child_dead && !child_hangs)

proctype vcpu_thread(byte i)
{
	(stopped);
	atomic { runs_old[i] = false; left++ };
	if
	:: verdict == NEW -> runs_new[i] = true
	:: verdict == OLD -> runs_old[i] = true
	fi
}

proctype old_main()
{
	bool ok;

old_connect:
	skip;
old_prepare:
	if
	:: ready -> skip
	:: goto failed /* deadline, the child is dead */
	fi;
old_stop:
	stopped = true;
	(left == 2);
	if
	:: skip
	:: goto failed
	fi;
old_save:
	if
	:: skip
	:: goto failed
	fi;
old_offer:
	offered = true;
	if
	:: verdict == NEW -> goto taken
	:: goto failed /* deadline, the child is dead */
	fi;
old_done:
taken:
	new_over = true;
	goto over;
failed:
	SWAP(verdict, OPEN, OLD, ok);
	if
	:: ok -> child_dead = true; old_over = true
	:: else -> goto taken
	fi;
over:
	skip
}

proctype child()
{
	bool ok;

	{
	skip;
new_receive:
	if
	:: may_child -> ready = true
	:: may_child -> child_dead = true
	fi;
	if
	:: may_child && offered -> skip
	fi;
new_load:
	if
	:: may_child -> loaded = true
	:: may_child -> child_dead = true
	fi;
new_run:
	if
	:: may_child -> skip
	:: may_child -> child_dead = true
	fi;
new_claim:
	if
	:: may_child -> SWAP(verdict, OPEN, NEW, ok)
	fi;
new_done:
	skip
	} unless { child_dead }
}

proctype fate()
{
	bool kill = true, hang = true;

	do
	:: kill -> kill = false; if :: child_dead = true :: skip fi
	:: hang -> hang = false; if :: child_hangs = true :: skip fi
	:: child_hangs -> child_hangs = false
	:: !kill && !hang -> break
	od
}

init
{
	atomic {
		run vcpu_thread(0);
		run vcpu_thread(1);
		run old_main();
		run child();
		run fate()
	}
}

ltl never_two { [] !two_images }
ltl loaded_when_new { [] (verdict == NEW -> loaded) }
ltl stopped_when_new { [] (verdict == NEW -> left == 2) }
/* All threads are in one image in the end, and its main thread is that image's. */
ltl one_in_the_end {
	<> [] ((runs_old[0] && runs_old[1] && old_over && verdict != NEW) ||
	       (runs_new[0] && runs_new[1] && new_over && verdict == NEW))
}
/* Not true, or the model says nothing: these are to be found broken. */
ltl reached_new_runs { [] !(runs_new[0] && runs_new[1]) }
ltl reached_given_back { [] !(old_over && verdict == OLD) }
