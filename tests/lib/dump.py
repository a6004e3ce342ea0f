# SPDX-License-Identifier: MIT
"""Reads what -dump-vmstate writes, and says whether one release's state loads in another."""


def check_form(dump):
    """Raises unless the dump has the documented form."""
    assert set(dump["vmschkmachine"]) == {"Name"}
    for name, section in dump.items():
        if name == "vmschkmachine":
            continue
        assert set(section) == {"Name", "version_id", "minimum_version_id",
                                "Description"}, name
        assert section["Name"] == name
        _check_description(section["Description"])
        for key in ("version_id", "minimum_version_id"):
            assert section[key] == section["Description"][key]


def _check_description(d):
    assert set(d) - {"Subsections"} == {
        "name", "version_id", "minimum_version_id", "Fields"}, d["name"]
    assert 1 <= d["minimum_version_id"] <= d["version_id"]
    for field in d["Fields"]:
        assert set(field) - {"num", "Description"} == {
            "field", "version_id", "field_exists", "size"}, field
        assert isinstance(field["field_exists"], bool)
        assert field["size"] > 0 and field.get("num", 1) > 0
        assert field["version_id"] <= d["version_id"]
        if "Description" in field:
            _check_description(field["Description"])
    names = [f["field"] for f in d["Fields"]]
    assert len(set(names)) == len(names)
    for sub in d.get("Subsections", ()):
        assert sub["name"].startswith(d["name"] + "/")
        assert sub["Fields"] and "Subsections" not in sub
        _check_description(sub)


def differences(src, dest):
    """Why a state written by `src` may not load in `dest`, as sentences."""
    found = []
    for name, section in src.items():
        if name == "vmschkmachine":
            continue
        if name not in dest:
            found.append("section %s does not exist" % name)
            continue
        _compare(name, section["Description"], dest[name]["Description"],
                 found)
    return found


def _compare(where, s, d, found):
    if s["name"] != d["name"]:
        found.append("%s: %s became %s" % (where, s["name"], d["name"]))
        return
    if not d["minimum_version_id"] <= s["version_id"] <= d["version_id"]:
        found.append("%s: version of %s" % (where, s["name"]))
    for ours, theirs in zip(s["Fields"], d["Fields"]):
        if ours["field"] != theirs["field"]:
            found.append("%s: field %s" % (where, ours["field"]))
            return
        if "Description" in ours:
            _compare(where, ours["Description"], theirs["Description"], found)
        elif (ours["size"], ours.get("num")) != (theirs["size"],
                                                 theirs.get("num")):
            found.append("%s: size of %s" % (where, ours["field"]))
    if len(s["Fields"]) != len(d["Fields"]):
        found.append("%s: number of fields of %s" % (where, s["name"]))
    subs = {sub["name"]: sub for sub in d.get("Subsections", ())}
    for sub in s.get("Subsections", ()):
        if sub["name"] in subs:
            _compare(where, sub, subs[sub["name"]], found)
        else:
            found.append("%s: subsection %s" % (where, sub["name"]))
