/* SPDX-License-Identifier: MIT */
/* Objects of the command line: memory backends. */
#ifndef MAIN_OBJECTS_H
#define MAIN_OBJECTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "machine/ram_block.h"

/* A memory backend (-object memory-backend-...). */
struct backend_option {
	char id[RAM_BLOCK_NAME_MAX];
	enum ram_backend backend;
	char path[4096]; /* mem-path */
	uint64_t size;
	bool share;
	bool readonly;
	struct ram_options options;
};

/*
 * The argument of -object: `TYPE,id=ID,size=SIZE,key=value,...`, two commas standing for
 * one in a value, or a JSON object with the member qom-type. Unknown types and properties
 * and values that cannot be had are refused by name; @out is untouched then.
 */
int objects_parse(struct backend_option *out, const char *arg, struct err *e);

/* The answer to @arg, `TYPE,help` or `help`, on standard output: properties or types. */
void objects_print_help(const char *arg);

#endif
