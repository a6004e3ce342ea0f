/* SPDX-License-Identifier: MIT */
/* The human monitor's words for trace events. */
#ifndef CTL_CMD_TRACE_H
#define CTL_CMD_TRACE_H

#include "base/buf.h"

/* `trace-event NAME on|off`: @rest is what follows the first word; it is cut up. Lines end CR LF. */
void hmp_trace_event(char *rest, struct buf *out);
/* `info trace-events [NAME]`: each event that matches and whether it is enabled. */
void hmp_info_trace_events(char *rest, struct buf *out);

#endif
