/* SPDX-License-Identifier: MIT */
/*
 * cpr-exec: one process, whose image is the old one, the new one, or the old one again.
 *
 * There is one main thread, so two images never run at once; what has to be shown is that the guest
 * is run again whatever fails but the process itself, that no image runs it without the word, and that
 * a state is loaded by one image at a time. The operator's second attempts are modelled by
 * `migrate-incoming`, which may be tried again and again once nothing is left to fall back to.
 */
#include "owner.pml"

mtype = { OLD, OFFERED, NEW };
mtype = { THE_OLD, THE_NEW, THE_OLD_AGAIN };

mtype word = OLD;
mtype image = THE_OLD;
bool runs = true;
bool dead;      /* the process is: killed, or the old image crashed   */
bool waits;     /* inmigrate, with the guest's RAM, for an operator   */
bool loaded;

proctype process()
{
	bool ok;

	{
	skip;
old_connect:
	if
	:: skip
	:: goto refused
	fi;
old_prepare:
	if
	:: skip
	:: goto refused /* a child has tried the next image, and it cannot; or is late */
	fi;
old_link:
	if
	:: skip
	:: goto refused
	fi;
old_stop:
	runs = false;
	if
	:: skip
	:: goto failed
	fi;
old_save:
	if
	:: skip
	:: goto failed
	fi;
old_exec:
	if
	:: skip
	:: goto failed /* the file cannot be written, or is late */
	fi;
	SWAP(word, OLD, OFFERED, ok);
	if
	:: image = THE_NEW
	:: goto failed /* execvp: no such program */
	:: dead = true /* its file is another one than was tried: no Baton, and ends */
	fi;
old_done:
new_receive:
	if
	:: skip
	:: goto new_failed /* command line, machine, file, checksum, a crash, the deadline */
	:: dead = true     /* killed */
	fi;
new_load:
	if
	:: loaded = true
	:: goto new_failed
	:: dead = true
	fi;
new_claim:
	SWAP(word, OFFERED, NEW, ok);
	if
	:: ok -> skip
	:: else -> goto new_failed
	fi;
new_run:
	runs = true;
new_done:
	waits = false;
	goto over;

new_failed:
	loaded = false;
	if
	:: image == THE_NEW -> image = THE_OLD_AGAIN; goto new_receive
	:: image == THE_OLD_AGAIN -> waits = true /* or it crashes: no way leads back from it */
	:: image == THE_OLD_AGAIN -> dead = true
	fi;
	/* Nobody is left to fall back to; an operator may mend what is wrong, and try again. */
	goto new_receive;

failed:
	if
	:: word == OFFERED -> SWAP(word, OFFERED, OLD, ok)
	:: else -> skip
	fi;
	runs = true;
refused:
	skip;
over:
	skip
	} unless { dead };
	if
	:: dead -> runs = false
	:: else -> skip
	fi
}

init
{
	run process()
}

ltl runs_by_the_word { [] (runs -> (dead || (image == THE_OLD && word != NEW) || word == NEW)) }
ltl loaded_when_new { [] (word == NEW -> loaded) }
ltl one_in_the_end { <> [] (runs || dead) || [] <> waits }
/* Not true, or the model says nothing: these are to be found broken. */
ltl reached_fall_back { [] !(image == THE_OLD_AGAIN && runs) }
ltl reached_wait { [] !waits }
