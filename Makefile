# SPDX-License-Identifier: MIT
# Baton: `make help` lists the targets. Everything is built below build/.

SHELL := /bin/sh
comma := ,
VARIANT ?= release
B := build/$(VARIANT)

CC := gcc
AR := gcc-ar
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror
CFLAGS_release := -O2 -g -fPIE -fstack-protector-strong -D_FORTIFY_SOURCE=2
CFLAGS_asan := -O1 -g -fPIE -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
# It does not model fences; those here are between a device and the guest, which it does not see.
CFLAGS_tsan := -O1 -g -fPIE -fsanitize=thread -Wno-tsan
# By clang, whose warnings are other ones.
CFLAGS_fuzz := -w -O1 -g -fPIE -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
LDFLAGS_release := -pie -Wl,-z,relro,-z,now
LDFLAGS_asan := -pie -fsanitize=address,undefined
LDFLAGS_tsan := -pie -fsanitize=thread
CFLAGS := -std=gnu11 -D_GNU_SOURCE -Isrc $(WARN) $(CFLAGS_$(VARIANT)) -MMD -MP
LDFLAGS := $(LDFLAGS_$(VARIANT))
# All but libc is linked in: loading five more libraries takes 0.35 ms, and an update by exec
# pays that in the pause. All are under licences of the BSD kind. Libc itself, as static PIE,
# would save 0.15 ms more, and could not look names up by what the host is set up to use.
LIBS := -Wl,-Bstatic -lz -ljansson -luring -ledit -lbsd -lmd -ltinfo -Wl,-Bdynamic -pthread

SRC := $(filter-out src/main/main.c,$(wildcard src/*/*.c src/*/*/*.c))
OBJ := $(SRC:%.c=$(B)/%.o)
UNIT := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))
PY := /usr/bin/python3
PYTEST := $(PY) -B -m pytest -p no:cacheprovider -q

.PHONY: all help setup program demo test check fmt format layers laws docs model fault soak mutation unit asan guests vmtest \
	fuzz fuzz-programs fuzz-smoke vmtest-asan vmtest-tsan lab bench bench-quick floor facts kernel-facts audit alone golden compat clean install
.SUFFIXES:
.DELETE_ON_ERROR:

all: build/baton

help:
	@sed -n 's/^## //p' Makefile

## make            build build/baton
## make demo       boot a Debian system and update the VMM under it while it works (README)
## make test       everything CI runs: check, fuzz-smoke, model, vmtest, compat, lab
## make check      format, layers, laws, documents, unit tests, audit; the units again with ASan and UBSan
## make alone      tests of state that link without the machine
## make vmtest     tests that need /dev/kvm
## make vmtest-asan  the same with a program that has ASan and UBSan
## make vmtest-tsan  the same with ThreadSanitizer: a race fails a test
## make compat     updates between this build and the previous release
## make model      the hand-over's protocol, verified: every order of crashes, hangs, messages and deadlines
## make soak       2,000 updates of one guest, some with faults: nothing grows (SOAK=options)
## make mutation   the tests of broken hand-overs find out a program that does not ask who owns the guest
## make fault      updates in which the N-th call to the host fails, for every N (FAULT=options)
## make lab        stock Linux guests, in the nested lab where there is no hardware KVM
## make bench      the pause, its parts and the crawl, beside QEMU's; scale; what must hold (BENCH=options)
## make bench-quick   the same in three minutes, with fewer and rougher figures
## make floor      what the parts of a hand-over cost with KVM alone, nothing of Baton (FLOOR=--json=FILE)
## make kernel-facts  what of the kernel Baton relies on, proven by small programs (docs/kernel-behaviour)
## make golden     add the states this version writes to tests/golden
## make tsan       the unit tests with ThreadSanitizer
## make fuzz       each target of tests/fuzz with libFuzzer, for FUZZ_SECONDS=600
## make fuzz-smoke   the same for 20 seconds; part of make test
## make fmt        format the sources
## make install    install to $(DESTDIR)$(PREFIX)
## make clean      remove what was built (not what the lab downloaded)

build/.setup: tools/setup
	tools/setup
	@mkdir -p build && touch $@

setup: build/.setup

build/baton: build/release/baton
	@ln -sf release/baton $@

$(B)/baton: $(B)/src/main/main.o $(B)/libbaton.a
	@echo "  LD    $@"
	@$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

# The same in one file, as some install it; jansson comes with an archive too. The linker says of
# the C library's look-up of names that it needs the shared one at run time.
$(B)/baton-static: $(B)/src/main/main.o $(B)/libbaton.a
	@echo "  LD    $@"
	@$(CC) -static-pie -Wl,-z,relro,-z,now,--no-warnings -o $@ $^ $(subst -Wl$(comma)-Bdynamic,,$(LIBS))

$(B)/libbaton.a: $(OBJ)
	@rm -f $@
	@$(AR) rcs $@ $^

$(B)/%.o: %.c | build/.setup
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) $(CFLAGS) -c -o $@ $<

$(B)/unit/%: $(B)/tests/unit/%.o $(B)/libbaton.a
	@mkdir -p $(@D)
	@$(CC) $(LDFLAGS) -o $@ $^ -lcmocka $(LIBS)

# It decides whether there is memory.
$(B)/unit/test_json_memory: LDFLAGS += -Wl,--wrap=malloc

# State without the machine: these units link once more, with base, state and the sources
# named after them and with nothing of the machine, KVM or the monitors.
ALONE := test_vmstate: test_vmstate_audit: test_stream: test_stream_ram: \
	test_ptimer:machine/ptimer.c \
	test_ptimer_loop:machine/ptimer.c:machine/ptimer_loop.c:host/loop.c:host/clock.c \
	test_serial:dev/pc/serial.c \
	test_rtc:dev/pc/rtc.c:dev/pc/rtc_time.c:host/loop.c
ALONE_NAMES := $(foreach a,$(ALONE),$(firstword $(subst :, ,$(a))))
ALONE_BASE := $(patsubst %.c,$(B)/alone/%.o,$(wildcard src/base/*.c src/state/*.c))

# What creates a device in a machine is in sections of its own, which the linker leaves out.
$(B)/alone/%.o: %.c | build/.setup
	@mkdir -p $(@D)
	@echo "  CC    $< (alone)"
	@$(CC) $(CFLAGS) -ffunction-sections -fdata-sections -c -o $@ $<

define alone_unit
$(B)/alone/$(firstword $(subst :, ,$(1))): $(B)/alone/tests/unit/$(firstword $(subst :, ,$(1))).o \
	$(patsubst %.c,$(B)/alone/src/%.o,$(wordlist 2,9,$(subst :, ,$(1)))) $(ALONE_BASE)
	@$$(CC) $$(LDFLAGS) -Wl,--gc-sections -o $$@ $$^ -lcmocka $$(LIBS)
endef
$(foreach a,$(ALONE),$(eval $(call alone_unit,$(a))))

alone: $(ALONE_NAMES:%=$(B)/alone/%)
	@tools/run-units $^

-include $(OBJ:.o=.d) $(B)/src/main/main.d $(UNIT:%=$(B)/tests/unit/%.d) \
	$(wildcard $(B)/alone/*/*/*.d $(B)/alone/*/*/*/*.d $(B)/tests/fuzz/*.d)
.SECONDARY:

unit-programs: $(UNIT:%=$(B)/unit/%)

unit: unit-programs
	@tools/run-units $(UNIT:%=$(B)/unit/%)

asan:
	@$(MAKE) --no-print-directory VARIANT=asan unit

tsan:
	@UNIT_LIMIT=900 TSAN_OPTIONS=suppressions=$(CURDIR)/tests/unit/tsan.supp $(MAKE) --no-print-directory VARIANT=tsan unit

format: build/.setup
	@tools/check-format

fmt: build/.setup
	@tools/check-format --fix

audit: $(B)/unit/test_audit
	@tools/run-units $(B)/unit/test_audit

golden: build/baton guests $(B)/unit/test_golden
	@tests/golden/add $(B)/unit/test_golden \
		$$(sed -n 's/^#define CTL_VERSION *"\(.*\)"/\1/p' src/ctl/ctl.h)

layers:
	@tools/check-layers

laws:
	@tools/check-laws

docs:
	@tools/check-docs

check: format layers laws docs unit alone asan
	@echo "check: all passed"

guests: build/.setup
	@tests/guest/build build/guest

vmtest: build/baton build/release/baton-static build/bench/floor facts guests
	@$(PYTEST) tests/vm tests/update tests/bench

vmtest-asan: build/baton build/bench/floor facts guests
	@$(MAKE) --no-print-directory VARIANT=asan build/asan/baton
	@echo "vmtest-asan: RESIDENT MEMORY IS NOT CHECKED: the sanitizer keeps what was freed"
	@BATON=$(CURDIR)/build/asan/baton BATON_LOOPS=10 $(PYTEST) -rs tests/vm tests/update

vmtest-tsan: build/baton build/bench/floor facts guests
	@$(MAKE) --no-print-directory VARIANT=tsan build/tsan/baton
	@BATON=$(CURDIR)/build/tsan/baton BATON_LOOPS=3 TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1 \
		$(PYTEST) -rs tests/vm tests/update

compat: build/baton guests
	@tests/compat/build
	@$(PYTEST) -rs tests/compat

lab: build/baton
	@lab/test

demo: build/baton
	@tools/demo

build/.setup-bench: tools/setup | build/.setup
	tools/setup bench
	@touch $@

bench: build/baton build/bench/floor guests build/.setup-bench
	@tests/bench/bench --fetch $(BENCH)

bench-quick: build/baton build/bench/floor guests build/.setup-bench
	@tests/bench/bench --fetch --quick $(BENCH)

# Static: what starting the smallest program costs is one of the figures.
build/bench/floor: tests/bench/floor.c tests/bench/floor_vm.c tests/bench/floor_vm.h | build/.setup
	@mkdir -p $(@D)
	@echo "  CC    $@"
	@$(CC) -std=gnu11 -D_GNU_SOURCE $(WARN) -O2 -g -static -o $@ $(filter %.c,$^) -pthread

floor: build/bench/floor
	@build/bench/floor $(FLOOR)

FACTS := $(patsubst docs/kernel-behaviour/%.c,build/facts/%,$(wildcard docs/kernel-behaviour/*.c))

build/facts/%: docs/kernel-behaviour/%.c $(wildcard docs/kernel-behaviour/*.h) | build/.setup
	@mkdir -p $(@D)
	@echo "  CC    $@"
	@$(CC) -std=gnu11 -D_GNU_SOURCE $(WARN) -O2 -g -o $@ $< -pthread

facts: $(FACTS)

kernel-facts: facts
	@docs/kernel-behaviour/run $(FACTS)

build/fault/inject.so: tests/fault/inject.c | build/.setup
	@mkdir -p $(@D)
	@echo "  CC    $@"
	@$(CC) -std=gnu11 -D_GNU_SOURCE -w -O2 -g -shared -fPIC -o $@ $< -ldl

soak: build/baton guests
	@tests/fault/soak $(SOAK)

mutation: build/baton guests
	@tests/fault/mutate

fault: build/baton guests build/fault/inject.so
	@tests/fault/run --library build/fault/inject.so $(FAULT)

model: build/.setup
	@tools/check-model
	@model/run build/model

# One program for each tests/fuzz/fuzz_NAME.c, with all of Baton built by clang.
FUZZ := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_SECONDS ?= 600

build/.setup-fuzz: tools/setup | build/.setup
	tools/setup fuzz
	@touch $@

$(B)/fuzz/%: $(B)/tests/fuzz/%.o $(B)/libbaton.a
	@mkdir -p $(@D)
	@echo "  LD    $@"
	@$(CC) -pie -fsanitize=fuzzer,address,undefined -o $@ $^ -lcmocka $(LIBS)

fuzz-programs: $(FUZZ:%=$(B)/fuzz/%)

fuzz: build/.setup-fuzz
	@$(MAKE) --no-print-directory VARIANT=fuzz CC=clang AR=ar fuzz-programs
	@tests/fuzz/run $(FUZZ_SECONDS) $(FUZZ:%=build/fuzz/fuzz/%)

fuzz-smoke:
	@$(MAKE) --no-print-directory FUZZ_SECONDS=20 fuzz

test: check fuzz-smoke model vmtest compat lab
	@echo "test: all passed"

PREFIX ?= /usr/local
install: build/baton
	install -D -m 755 build/release/baton $(DESTDIR)$(PREFIX)/bin/baton
	install -D -m 644 docs/man/baton.1 $(DESTDIR)$(PREFIX)/share/man/man1/baton.1
	install -D -m 644 docs/man/baton-qmp.7 $(DESTDIR)$(PREFIX)/share/man/man7/baton-qmp.7

clean:
	rm -rf build/release build/asan build/tsan build/fuzz build/fuzz-corpus build/guest build/bench build/facts build/model build/fault build/mutant build/compat build/baton
