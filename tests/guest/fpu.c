/* SPDX-License-Identifier: MIT */
/*
 * fpu.c - keeps known values in general, x87, SSE and AVX registers, segment
 * bases, debug registers and MSRs, and compares them for ever.
 *
 * Options: loops=N (comparisons of one hold), avx=1 (needs XSETBV at CPL 0).
 */
#include "guest.h"

#define VECTOR_READ_REGS  0x50
#define VECTOR_AVX_ON     0x51
#define CPUID_1_ECX_XSAVE (1u << 26)
#define CPUID_1_ECX_AVX   (1u << 28)
#define FX_FCW            0
#define FX_FSW            2
#define FX_FTW            4
#define FX_MXCSR          24
#define FX_ST             32
#define FX_ST_STEP        16
#define FX_ST_BYTES       10
#define FX_XMM            160
#define FX_XMM_BYTES      256
#define FCW_VALUE         0x0b7f /* round up, all masked */
#define FSW_VALUE         0x4521 /* conditions and sticky flags, top of stack 0 */
#define MXCSR_VALUE       0x3fa1 /* round down, sticky flags, all masked */
#define FS_WORD           0x0f50f50f50f50f5ul
#define GS_WORD           0x0650650650650650ul

const uint64_t guest_kind = ABI_KIND_FPU;

extern uint8_t hold_fx_in[512], hold_fx_out[512];
extern uint8_t hold_ymm_in[256], hold_ymm_out[256];
extern uint64_t hold_gpr[15], hold_loops, hold_gpr_bad, hold_avx;
extern uint64_t hold_msr[4], fs_word, gs_word;
void fpu_hold(void);
void isr_avx_on(void);

static const uint64_t dr_expected[4] = { 0x1111000, 0x2222000, 0x3333000, 0x4444000 };

static volatile struct abi_fpu *fpu(void)
{
	return abi_body();
}

static void put16(uint8_t *to, uint16_t v)
{
	to[0] = (uint8_t)v;
	to[1] = (uint8_t)(v >> 8);
}

static void values_choose(uint64_t round)
{
	unsigned int i, b;
	uint8_t *st;

	for (i = 0; i < 15; i++)
		hold_gpr[i] = (round * 16 + i + 1) * 0x9e3779b97f4a7c15ul;
	put16(hold_fx_in + FX_FCW, FCW_VALUE);
	put16(hold_fx_in + FX_FSW, FSW_VALUE);
	hold_fx_in[FX_FTW] = 0xff;
	put16(hold_fx_in + FX_MXCSR, MXCSR_VALUE);
	for (i = 0; i < 8; i++) {
		st = hold_fx_in + FX_ST + i * FX_ST_STEP;
		for (b = 0; b < FX_ST_BYTES; b++)
			st[b] = (uint8_t)(round * 5 + i * 16 + b);
		st[7] |= 0x80; /* a normal number */
		st[9] = 0x40;
	}
	for (i = 0; i < FX_XMM_BYTES; i++) {
		hold_fx_in[FX_XMM + i] = (uint8_t)(round * 3 + i * 7 + 1);
		hold_ymm_in[i] = (uint8_t)(round * 11 + i * 13 + 2);
	}
}

static bool differ(const uint8_t *a, const uint8_t *b, unsigned int bytes)
{
	unsigned int i;

	for (i = 0; i < bytes; i++)
		if (a[i] != b[i])
			return true;
	return false;
}

static void values_check(void)
{
	volatile struct abi_fpu *f = fpu();
	uint64_t x87 = 0, sse = 0, avx = 0, bases = 0, word;
	unsigned int i, at;

	x87 += differ(hold_fx_in + FX_FCW, hold_fx_out + FX_FCW, 5);
	for (i = 0; i < 8; i++) {
		at = FX_ST + i * FX_ST_STEP;
		x87 += differ(hold_fx_in + at, hold_fx_out + at, FX_ST_BYTES);
	}
	sse += differ(hold_fx_in + FX_MXCSR, hold_fx_out + FX_MXCSR, 4);
	sse += differ(hold_fx_in + FX_XMM, hold_fx_out + FX_XMM, FX_XMM_BYTES);
	if (hold_avx)
		avx += differ(hold_ymm_in, hold_ymm_out, sizeof(hold_ymm_in));
	__asm__ volatile("movq %%fs:0, %0" : "=r"(word));
	bases += word != FS_WORD;
	__asm__ volatile("movq %%gs:0, %0" : "=r"(word));
	bases += word != GS_WORD;
	f->x87_errors += x87;
	f->sse_errors += sse;
	f->avx_errors += avx;
	f->fs_errors += bases;
	f->gpr_errors += hold_gpr_bad;
	abi_head()->errors += x87 + sse + avx + bases + hold_gpr_bad;
	hold_gpr_bad = 0;
}

static bool self_call(uint8_t vector)
{
	volatile uint64_t *counter = &isr_counter;
	uint64_t before = *counter, start = rdtsc();

	lapic_send_self(vector);
	while (*counter == before)
		if (rdtsc() - start > 1000000000ul)
			return false;
	return true;
}

static void privileged_check(void)
{
	volatile struct abi_fpu *f = fpu();
	volatile uint64_t *v = isr_values;
	uint64_t wrong = 0, msrs = 0;
	unsigned int i;

	if (!self_call(VECTOR_READ_REGS)) {
		abi_head()->errors++;
		return;
	}
	for (i = 0; i < 6; i++)
		f->dr[i] = v[i];
	for (i = 0; i < 4; i++) {
		wrong += v[i] != dr_expected[i];
		msrs += v[6 + i] != hold_msr[i];
	}
	f->dr_errors += wrong;
	f->msr_errors += msrs;
	f->dr_checks++;
	abi_head()->errors += wrong + msrs;
}

void guest_main(void)
{
	volatile struct abi_fpu *f = fpu();
	uint32_t r[4];

	f->hold_loops = option_number("loops", 200000);
	fs_word = FS_WORD;
	gs_word = GS_WORD;
	lapic_enable();
	idt_set(VECTOR_READ_REGS, isr_read_regs);
	idt_set(VECTOR_AVX_ON, isr_avx_on);
	cpuid(1, 0, r);
	if (option_number("avx", 0) && (r[2] & CPUID_1_ECX_XSAVE) && (r[2] & CPUID_1_ECX_AVX)) {
		hold_avx = self_call(VECTOR_AVX_ON);
		f->avx_on = hold_avx;
	}
	guest_ready();
	for (;;) {
		values_choose(f->rounds);
		hold_loops = f->hold_loops;
		fpu_hold();
		values_check();
		f->rounds++;
		abi_head()->heartbeat++;
		if (request_poll() == ABI_REQUEST_DEBUG_REGS) {
			privileged_check();
			request_done(0);
		}
	}
}
