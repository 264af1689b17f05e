#!/usr/bin/env python3
"""Adds up JUnit files and prints one closing line: N passed, N failed, N skipped.

    python3 sum_results.py FILE...

A file that is missing or cannot be read counts as one failure: its tests did not finish. Tests that
were skipped under ctest are listed with their reason (pytest lists its own). Exit status 1 if
anything failed.
"""
import re
import sys
import xml.etree.ElementTree as ElementTree


def reason_of(case):
    """What a GoogleTest program printed where it skipped, or the marker's own words."""
    printed = case.findtext("system-out") or ""
    match = re.search(r"Skipped\n(.*?)\n\n", printed, re.DOTALL)
    if match:
        return " ".join(match.group(1).split())
    marker = case.find("skipped")
    return (marker.get("message") or "no reason given") if marker is not None else ""


def count(path):
    """(passed, failed, skipped) of one JUnit file."""
    passed = failed = skipped = 0
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif case.find("skipped") is not None or case.get("status") in ("disabled", "notrun"):
            skipped += 1
            if "ctest" in path:
                print(f"SKIPPED {case.get('name')}: {reason_of(case)}")
        else:
            passed += 1
    return passed, failed, skipped


def main():
    passed = failed = skipped = 0
    for path in sys.argv[1:]:
        try:
            one = count(path)
        except (OSError, ElementTree.ParseError) as error:
            print(f"no results of {path}: {error}")
            one = (0, 1, 0)
        passed, failed, skipped = passed + one[0], failed + one[1], skipped + one[2]
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
