/* SPDX-License-Identifier: MIT */
/*
 * cpr-transfer: two processes, a CPR channel, a main channel, the owner word.
 *
 * Labels are the steps of handover_table (src/update/handover.c), old_ or new_ before them;
 * tools/check-model holds them to the table. Modelled beside the steps:
 *
 *	- either process is killed at any moment (a process's memory, its threads and its ends of the
 *	  channels go with it);
 *	- either process hangs at any moment, for a while or for ever;
 *	- the CPR channel breaks at any moment: what was sent may be lost, both hear of it;
 *	- the operator cancels at any moment before the offer is answered;
 *	- a step fails, on either side;
 *	- every deadline may pass as soon as it is set: messages can be as late as they like.
 */
#include "owner.pml"

mtype = { OLD, OFFERED, NEW };
mtype = { CPR_STATE, CANCEL, READY, OFFER, RUNNING, CLIENTS };

mtype word = OLD;
chan cpr_to_new = [3] of { mtype };
chan cpr_to_old = [3] of { mtype };
bool broken;         /* the CPR channel is                                   */
bool sent;           /* all of the state is in the main channel, or further  */
bool old_dead, new_dead;
bool old_hangs, new_hangs;   /* now                                          */
bool old_runs = true;        /* its vCPUs are in the guest                   */
bool new_runs;
bool old_knows;      /* that it is not its guest any more: `cont` is refused */
bool new_loaded;     /* the state is in its vCPUs                            */
bool old_over, new_over; /* the attempt is over there                        */

#define may_old (!old_dead && !old_hangs)
#define may_new (!new_dead && !new_hangs)

/* Sends, unless it cannot be heard any more. */
#define SEND(channel, message)                                   \
	atomic {                                                 \
		if                                               \
		:: !broken && nfull(channel) -> channel!message  \
		:: broken -> skip                                \
		fi                                               \
	}

/* ---- the old side --------------------------------------------------- */

proctype old_side()
{
	bool ok;

	{
	skip;
old_connect:
	if
	:: may_old && !broken -> SEND(cpr_to_new, CPR_STATE)
	:: may_old -> goto failed
	fi;
old_prepare:
	if
	:: may_old && cpr_to_old?[READY] -> cpr_to_old?READY
	:: may_old -> goto failed /* deadline, cancelled, broken, or the peer is dead */
	fi;
old_link:
	if
	:: may_old && !new_dead -> skip
	:: may_old -> goto failed
	fi;
old_stop:
	if
	:: may_old -> old_runs = false
	fi;
	if
	:: may_old -> skip
	:: may_old -> goto failed
	fi;
old_save:
	if
	:: may_old -> skip
	:: may_old -> goto failed
	fi;
old_offer:
	if
	:: may_old -> SWAP(word, OLD, OFFERED, ok)
	fi;
	if
	:: may_old -> SEND(cpr_to_new, OFFER)
	:: may_old -> goto failed
	fi;
	if
	:: may_old -> sent = true
	:: may_old -> goto failed
	fi;
	if
	:: may_old && cpr_to_old?[RUNNING] -> cpr_to_old?RUNNING
	:: may_old -> goto failed /* deadline, cancelled, broken, or the peer is dead */
	fi;
old_give:
	if
	:: may_old -> SEND(cpr_to_new, CLIENTS)
	:: may_old -> skip /* it cannot, which only its clients notice */
	fi;
old_done:
	old_knows = true;
	old_over = true;
	goto over;

	/* What was entered is undone; the word decides whose guest it is. */
failed:
	if
	:: may_old && word == OLD -> skip
	:: may_old && word != OLD ->
		SWAP(word, OFFERED, OLD, ok);
		if
		:: ok -> skip
		:: else -> old_knows = true
		fi
	fi;
	if
	:: may_old && !old_knows -> old_runs = true
	:: may_old && old_knows -> skip
	fi;
	SEND(cpr_to_new, CANCEL);
	broken = true;
	old_over = true;
over:
	skip
	} unless { old_dead };
	if
	:: old_dead -> atomic { old_runs = false; broken = true; old_over = true }
	:: else -> skip
	fi;
	/* It may die later, too. */
	old_dead -> atomic { old_runs = false; broken = true }
}

/* ---- the new side --------------------------------------------------- */

proctype new_side()
{
	bool ok;

	{
	if
	:: may_new && cpr_to_new?[CPR_STATE] -> cpr_to_new?CPR_STATE
	:: may_new && (broken || old_dead) -> goto failed
	fi;
new_receive:
	if
	:: may_new -> SEND(cpr_to_old, READY)
	:: may_new -> goto failed
	fi;
	if
	:: may_new && cpr_to_new?[OFFER] -> cpr_to_new?OFFER
	:: may_new && cpr_to_new?[CANCEL] -> goto failed
	:: may_new && (broken || old_dead) && !cpr_to_new?[OFFER] -> goto failed
	fi;
	if
	:: may_new && sent -> skip
	:: may_new && !sent && (broken || old_dead) -> goto failed
	fi;
new_load:
	if
	:: may_new -> new_loaded = true
	:: may_new -> goto failed
	fi;
new_claim:
	if
	:: may_new -> SWAP(word, OFFERED, NEW, ok)
	fi;
	if
	:: may_new && ok -> skip
	:: may_new && !ok -> goto failed
	fi;
new_run:
	if
	:: may_new -> new_runs = true
	fi;
	if
	:: may_new -> SEND(cpr_to_old, RUNNING)
	fi;
new_take:
	if
	:: may_new && cpr_to_new?[CLIENTS] -> cpr_to_new?CLIENTS
	:: may_new -> skip /* deadline, broken, or the peer is dead */
	fi;
new_done:
	new_over = true;
	goto over;
failed:
	broken = true; /* it exits */
	new_dead = true;
	new_over = true;
over:
	skip
	} unless { new_dead };
	new_dead -> atomic { new_runs = false; broken = true; new_over = true }
}

/* ---- what happens to them ------------------------------------------- */

proctype fate()
{
	/* Each at most once, at any time, or never. */
	bool kill_old = true, kill_new = true, cut = true, hang_old = true, hang_new = true;

	do
	:: kill_old -> kill_old = false; if :: old_dead = true :: skip fi
	:: kill_new -> kill_new = false; if :: new_dead = true :: skip fi
	:: cut -> cut = false; if :: broken = true :: skip fi
	:: hang_old -> hang_old = false; if :: old_hangs = true :: skip fi
	:: hang_new -> hang_new = false; if :: new_hangs = true :: skip fi
	:: old_hangs -> old_hangs = false
	:: new_hangs -> new_hangs = false
	:: !kill_old && !kill_new && !cut && !hang_old && !hang_new -> break
	od
}

init
{
	atomic {
		run old_side();
		run new_side();
		run fate()
	}
}

/*
 * The guest is lost, or hangs, with the only process that could run it: who owns it is dead or
 * hangs for good; or it was stopped, and its owner died before all of its state was with the other.
 */
#define owner_gone                                                    \
	((word == NEW && (new_dead || new_hangs)) ||                  \
	 (word == OLD && (old_dead || old_hangs)) ||                  \
	 (word == OFFERED && (old_dead || old_hangs) && (!sent || new_dead || new_hangs)))

ltl never_two { [] !(old_runs && new_runs) }
/* An old side that has lost the guest for good never runs it again. */
ltl never_back { [] (old_knows -> [] !old_runs) }
/* It is offered only with the guest stopped, and claimed only with the state loaded. */
ltl stopped_when_offered { [] (word == OFFERED -> !old_runs) }
ltl loaded_when_new { [] (word == NEW -> new_loaded) }
/* In the end one runs it, and one only. */
ltl one_in_the_end { <> [] ((old_runs != new_runs) || owner_gone) }
/* Not true, or the model says nothing: these are to be found broken. */
ltl reached_new_runs { [] !new_runs }
ltl reached_given_back { [] !(old_over && old_runs && word == OLD) }
ltl reached_lost_answer { [] !(old_knows && new_runs && broken) }
