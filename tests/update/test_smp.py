# SPDX-License-Identifier: MIT
"""Several vCPUs survive: each goes on, clocks agree, no interrupt is lost."""

import pytest

from vm import Footprint


@pytest.mark.parametrize("cpus", (2, 4))
@pytest.mark.parametrize("mode", ("transfer", "exec", "graft"))
def test_every_vcpu_goes_on_after_many_updates_under_load(
        vms, cpu_load, mode, cpus):
    vm = vms("smp", append="cpus=%d ipi=200000" % cpus, smp=cpus).start()
    first = None
    for i in range(20):
        before = [(s.count, s.ipi_received) for s in vm.body.slot[:cpus]]
        vm.update(mode)
        vm.wait_for("all vCPUs running", lambda: all(
            s.count > b[0] for s, b in zip(vm.body.slot[:cpus], before)))
        vm.wait_for("interrupts on all vCPUs", lambda: all(
            s.ipi_received > b[1] for s, b in
            zip(vm.body.slot[1:cpus], before[1:])))
        if i == 1:
            first = Footprint(vm)
    vm.qmp.cmd("stop")
    for s in vm.body.slot[:cpus]:
        assert s.backward == 0, s.all()
        assert s.skew == 0, s.all()
        assert s.ipi_sent - s.ipi_received in (0, 1), s.all()
    vm.check_no_errors()
    vm.qmp.cmd("cont")
    Footprint(vm).check_against(first)
