/* SPDX-License-Identifier: MIT */
/*
 * rom.c - reads the ACPI tables for ever, and tries to write them.
 *
 * DOC: theory of operation
 *
 * It looks for the tables where a PVH guest is told they are, checks the RSDP,
 * and sums the whole memory up to 1 MiB. Each round it sums again and writes
 * a word there: neither may ever change what it reads.
 */
#include "guest.h"

#define TABLES_END 0x100000ul
#define RSDP_BYTES 36
#define XSDT_AT    24

const uint64_t guest_kind = ABI_KIND_ROM;

static volatile struct abi_rom *rom(void)
{
	return abi_body();
}

static uint64_t sum_tables(uint64_t from)
{
	uint64_t sum = 0xcbf29ce484222325ul;

	for (; from < TABLES_END; from += 8)
		sum = (sum ^ *(volatile uint64_t *)from) * 0x100000001b3ul;
	return sum;
}

static uint8_t sum_bytes(uint64_t from, uint64_t bytes)
{
	uint8_t sum = 0;

	while (bytes--)
		sum = (uint8_t)(sum + *(volatile uint8_t *)from++);
	return sum;
}

static bool rsdp_is_right(uint64_t rsdp)
{
	static const char want[] = "RSD PTR ";
	uint64_t xsdt;

	for (int i = 0; i < 8; i++)
		if (*(volatile char *)(rsdp + (uint64_t)i) != want[i])
			return false;
	xsdt = *(volatile uint64_t *)(rsdp + XSDT_AT);
	return !sum_bytes(rsdp, RSDP_BYTES) && xsdt > rsdp && xsdt < TABLES_END &&
	       !sum_bytes(xsdt, *(volatile uint32_t *)(xsdt + 4));
}

void guest_main(void)
{
	volatile struct abi_rom *r = rom();

	r->rsdp = start_info_rsdp();
	r->valid = r->rsdp && r->rsdp < TABLES_END && rsdp_is_right(r->rsdp);
	r->sum = sum_tables(r->rsdp & ~7ul);
	guest_ready();
	for (;;) {
		volatile uint64_t *word = (volatile uint64_t *)(r->rsdp & ~7ul);
		uint64_t before = *word;

		*word = ~before;
		r->writes++;
		if (*word != before)
			r->writes_seen++;
		if (sum_tables(r->rsdp & ~7ul) != r->sum)
			r->changes++;
		r->rounds++;
		abi_head()->heartbeat++;
		if (request_poll())
			request_done(0);
	}
}
