/* SPDX-License-Identifier: MIT */
/* Messages for the operator, on standard error. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

/*
 * Each call writes one whole line, prefixed with the program's name and, unless it is an
 * error, the level, with a single write(2), so lines of several threads or processes do not
 * mix. Longer ones than 1,500 bytes are cut. Callable from any thread; errno is kept.
 */
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
