# SPDX-License-Identifier: MIT
"""General, x87, SSE, AVX, debug registers and MSRs survive."""

import pytest

import abi
from vm import Footprint


@pytest.mark.parametrize("mode", ("transfer", "exec", "graft"))
def test_registers_are_unchanged_by_many_updates_under_load(
        vms, cpu_load, loops, mode):
    vm = vms("fpu", append="avx=1 loops=2000000").start()
    first = None
    for i in range(loops):
        rounds = vm.body.rounds
        vm.update(mode)
        vm.wait_for("a round that began before the update",
                    lambda: vm.body.rounds > rounds)
        if i % 10 == 0:
            vm.request(abi.DEBUG_REGS)
        if i == 1:
            first = Footprint(vm)
    body = vm.body
    assert body.dr_checks >= (loops + 9) // 10
    for kind in ("gpr", "x87", "sse", "avx", "fs", "dr", "msr"):
        assert getattr(body, kind + "_errors") == 0, body.all()
    vm.check_no_errors()
    if first:
        Footprint(vm).check_against(first)
