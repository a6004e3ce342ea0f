# SPDX-License-Identifier: MIT
"""The bench's own arithmetic: percentiles, verdicts, tables, the crawl."""

import importlib.machinery
import importlib.util
import json
import os
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import stats  # noqa: E402
import verdict  # noqa: E402


def script(name):
    """A script without suffix as a module."""
    path = os.path.join(HERE, name)
    loader = importlib.machinery.SourceFileLoader("bench_" + name, path)
    module = importlib.util.module_from_spec(
        importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def lane(subject, mode, ram, **p50):
    """Results of a lane; each figure is the same in all percentiles."""
    summary = {k.replace("_", "-"): {"count": 3, "p50": v, "p99": v,
                                     "max": v, "mean": v}
               for k, v in p50.items()}
    return {"subject": subject, "mode": mode, "ram": ram, "failures": [],
            "samples": [{}], "crawls": [], "summary": summary}


def verdict_of(results, row, start):
    found = [x for x in verdict.lines(results)
             if x["row"].startswith(row) and x["figure"].startswith(start)]
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize("values,percent,expected", [
    ([5], 50, 5), ([5], 99, 5), ([3, 1, 2], 50, 2), ([1, 2, 3, 4], 50, 2),
    (list(range(1, 101)), 99, 99), (list(range(1, 201)), 99, 198),
    (list(range(1, 11)), 99, 10), ([1, 2], 0, 1)])
def test_percentile_is_the_nearest_rank(values, percent, expected):
    assert stats.percentile(values, percent) == expected


def test_no_values_have_no_percentile():
    with pytest.raises(ValueError):
        stats.percentile([], 50)
    assert stats.summary([]) is None
    assert stats.summary([None, None]) is None


def test_summary_leaves_out_what_was_not_measured():
    s = stats.summary([None, 4.0, 2.0])
    assert (s["count"], s["p50"], s["max"], s["mean"]) == (2, 2.0, 4.0, 3.0)


def test_pairs_without_both_sides_have_no_ratio():
    assert stats.pair_ratios([1, None, 3, 4], [2, 2, 0, None]) == [0.5]


def test_cost_of_a_step_is_the_slope_from_the_processors_on():
    points = [(1, 100), (2, 10), (4, 14), (8, 22), (16, 38)]
    assert stats.per_step(points, 2) == pytest.approx(2.0)
    assert stats.per_step(points[:2], 2) is None


def test_steady_begins_where_a_window_has_it():
    assert stats.until_steady([1.0] * 40, 1.0) == 0
    assert stats.until_steady([9.0] * 30 + [1.0] * 30, 1.0) == 270.0
    # A stretch that the host interrupted is no crawl.
    assert stats.until_steady([1.0, 50.0, 20.0] + [1.0] * 40, 1.0) == 0
    assert stats.until_steady([1.04] * 20, 1.0) == 0
    assert stats.until_steady([1.06] * 20, 1.0) == pytest.approx(21.2)


def test_sizes_are_read():
    assert stats.size_bytes("256M") == 256 << 20
    assert stats.size_bytes("1T") == 1 << 40


def test_verdicts_without_results_say_so():
    lines = verdict.lines({})
    assert len(lines) > 30
    assert {x["verdict"] for x in lines} == {"not measured"}
    assert all(x["command"].startswith("tests/bench/bench --parts ")
               for x in lines)


def test_commands_of_verdicts_name_parts_of_the_bench():
    bench = script("bench")
    for x in verdict.lines({}):
        parts = x["command"].split("--parts ")[1].split()[0].split(",")
        assert set(parts) <= set(bench.PARTS), x
        if "--modes" in x["command"]:
            modes = x["command"].split("--modes ")[1].split()[0].split(",")
            assert set(modes) <= set(bench.subjects.MODES), x


@pytest.mark.parametrize("pause,expected", [(0.2, "ok"), (0.201, "ABOVE")])
def test_limit_itself_is_allowed(pause, expected):
    results = {"lanes": [lane("baton", "graft", "1G", pause=pause)]}
    line = verdict_of(results, "1", "pause seen by the guest")
    assert line["verdict"] == expected
    assert line["value"] == pause


def test_ratio_needs_both_programs():
    ours = lane("baton", "graft", "1G", pause=0.1)
    other = lane("qemu-microvm", "exec", "1G", pause=50.0)
    start = "pause over cpr-exec"
    assert verdict_of({"lanes": [ours]}, "1", start)["verdict"] == \
        "not measured"
    line = verdict_of({"lanes": [ours, other]}, "1", start)
    assert line["value"] == pytest.approx(0.002)
    assert line["verdict"] == "ok"


def test_flatness_takes_the_lanes_of_both_parts():
    results = {"lanes": [lane("baton", "graft", r, pause=p)
                         for r, p in (("256M", 1.0), ("8G", 1.05))]}
    start = "pause at 256 MiB"
    assert verdict_of(results, "1", start)["verdict"] == "not measured"
    results["big"] = {"lanes": [lane("baton", "graft", "1T", pause=1.2)]}
    line = verdict_of(results, "1", start)
    assert line["value"] == pytest.approx(0.2)
    assert line["verdict"] == "ABOVE"


def test_exec_is_judged_by_its_worst_size_and_sparse_apart():
    results = {"lanes": [lane("baton", "exec", r, pause=p)
                         for r, p in (("256M", 5.0), ("8G", 9.0))],
               "big": {"lanes": [lane("baton", "exec", "1T", pause=100.0)]}}
    assert verdict_of(results, "3", "pause, the worst")["value"] == 9.0
    assert verdict_of(results, "3", "pause with 1 TiB")["value"] == 100.0


def test_saving_must_be_fast_not_slow():
    line = verdict_of({"save": {"ratio": 0.8}}, "-", "rate of saving")
    assert line["verdict"] == "ok"
    line = verdict_of({"save": {"ratio": 0.6}}, "-", "rate of saving")
    assert line["verdict"] == "BELOW"


def test_render_fills_its_marks_and_nothing_else():
    render = script("render")
    results = {"host": {"cpu": "C", "cores": 2, "memory_gib": 8.0,
                        "kernel": "6", "virtualization": "svm", "time": "T",
                        "load_average": 0.0},
               "skipped": ["a: b"],
               "lanes": [lane("baton", "graft", "1G", pause=0.1, noise=0.01,
                              phase_stop=0.06, first_read=1.0)]}
    text = "# A\n<!-- pause -->\nold\n<!-- /pause -->\nwords\n" \
        "<!-- fleet -->\n<!-- /fleet -->\n<!-- other -->\nx\n<!-- /other -->\n"
    filled = render.fill(text, results)
    assert "old" not in filled and "words\n" in filled
    assert "| baton graft | 1G | 0.1 / 0.1 / 0.1 | 0.01 | 0.06 |" in filled
    assert "<!-- fleet -->\nNot measured.\n<!-- /fleet -->" in filled
    assert "<!-- other -->\nx\n<!-- /other -->" in filled
    assert render.fill(filled, results) == filled
    for make in render.TABLES.values():
        assert make(json.loads(json.dumps(results)))


def test_document_has_a_place_for_every_table():
    render = script("render")
    with open(os.path.join(HERE, "..", "..", "docs", "performance.md"),
              encoding="utf-8") as f:
        document = f.read()
    for name in render.TABLES:
        assert "<!-- %s -->\n" % name in document, name
        assert "<!-- /%s -->" % name in document, name


def test_program_that_always_fails_ends_its_lane_only(monkeypatch, capsys):
    import drive
    import lanes

    class Subject:
        name = "qemu-x"
        version = "0"

    class Good(lanes.Lane):
        def block(self, count, crawls):
            self.samples += [{"pause": 1.0}] * count

    def refuse(*args, **kwargs):
        raise drive.UpdateFailed("it would not")

    monkeypatch.setattr(drive, "Running", refuse)
    bad = lanes.Lane(Subject(), "exec", "1G")
    good = Good(Subject(), "transfer", "1G")
    lanes.run([bad, good], 10, 5, 0)
    assert len(good.samples) == 10 and not bad.samples
    assert set(bad.failures) == {"it would not"} and len(bad.failures) < 10
    assert "qemu-x exec 1G: FAILED, it would not" in capsys.readouterr().err


def test_crawl_of_the_guest_times_every_stretch(vms):
    """Every stretch of it is timed, in both rounds."""
    import drive
    vm = vms("gap", mem="64M", append=drive.APPEND).start()
    vm.update("transfer")
    vm.running()
    first, second = drive.touch(vm, "random"), drive.touch(vm, "random")
    assert len(first) == len(second) == 1024
    assert all(t > 0 for t in first + second)
    vm.check_no_errors()


def test_sample_of_an_update_is_whole(vms):
    import drive
    import subjects
    vm = vms("gap", mem="64M", append=drive.APPEND).start()
    for mode in ("transfer", "exec"):
        sample = drive.update(vm, mode)
        assert 0 < sample["host"] <= sample["command"] <= sample["whole"]
        assert sample["pause"] > 0 and sample["lost"] >= sample["pause"]
        assert sum(sample["phases"].values()) <= sample["host"] * 1e3 + 10
    assert subjects.baton().knows("transfer")


def test_update_that_fails_is_told_and_does_not_hang(vms):
    import drive
    vm = vms("gap", mem="64M", append=drive.APPEND).start()
    vm.program = "/bin/false"
    with pytest.raises(drive.UpdateFailed):
        drive.update(vm, "transfer")
    assert vm.status()["running"]
