"""count: what Meson's test logs say, in test cases rather than in programs.

    count.py build-test/meson-logs/testlog.json...

Prints what failed, with its output, and as the last line: PASSED FAILED SKIPPED.
"""

import json
import re
import sys

CHECK = re.compile(r"^\d+%: Checks: (\d+), Failures: (\d+), Errors: (\d+)", re.M)
CASES = re.compile(r"^cases: (\d+) passed, (\d+) failed, (\d+) skipped", re.M)


def count(test):
    out = test.get("stdout", "") + test.get("stderr", "")
    passed = failed = skipped = 0
    for checks, failures, errors in CHECK.findall(out):
        bad = int(failures) + int(errors)
        passed += int(checks) - bad
        failed += bad
    for good, bad, left_out in CASES.findall(out):
        passed += int(good)
        failed += int(bad)
        skipped += int(left_out)
    well = test["result"] in ("OK", "EXPECTEDFAIL")
    if not well and not failed:
        failed = 1  # a crash, a time-out, a sanitizer at exit: no count, but a failure
    if well and not passed + skipped:
        passed = 1  # a program that does not count
    return passed, failed, skipped, out


def main():
    totals = [0, 0, 0]
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as log:
            tests = [json.loads(line) for line in log if line.strip()]
        for test in tests:
            *counts, out = count(test)
            totals = [a + b for a, b in zip(totals, counts)]
            for line in re.findall(r"^skipped: .*", out, re.M):
                print(line)
            if counts[1]:
                print("==== %s: %s (%d failed) after %.1f s" % (
                    test["name"], test["result"], counts[1], test.get("duration", 0)))
                print(out[-20000:])
    print(*totals)


if __name__ == "__main__":
    main()
