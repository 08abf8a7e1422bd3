#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Distribute tests over guests that run concurrently.

Reads "PROGRAM TEST" lines and prints "GUEST PROGRAM TEST" lines, in the order in
which results are shown. A guest is called boot-v1, boot-v1-2, ... or boot-v2: a test
whose variant is called v2_* needs the memory controller in cgroup v2. The controller
cannot be moved while the guest runs, see cgroup.h, so such tests have their own guest.

A program is split only for that. Programs are assigned by their known durations, the
longest first, so that all guests end at about the same time. Those that the file
"alone" lists run in one guest, one after the other.
"""

import argparse
import re
import sys

import durations

WORTH_S = 15        # with less work, a guest is not worth its boot
BOOT_S = 5


def die(message):
    """End with exit status 2 for wrong usage."""
    print(f'fuse_wb: {message}', file=sys.stderr)
    sys.exit(2)


def read_tests(path):
    """Two dicts, for cgroup v1 and v2: the tests of each program."""
    versions = {}, {}
    with open(path, encoding='utf-8') as file:
        for line in file:
            program, test = line.split()
            versions[bool(re.search(r'\.v2_', test))].setdefault(program, []).append(test)
    return versions


def read_alone(path):
    """The programs of the file: a line is PROGRAM, then the reason after a #."""
    programs = set()
    if not path:
        return programs
    with open(path, encoding='utf-8') as file:
        for number, line in enumerate(file, 1):
            name, _, reason = line.partition('#')
            if not name.strip():
                continue
            if len(name.split()) != 1 or not reason.strip():
                die(f'{path}:{number}: want "PROGRAM # REASON"')
            programs.add(name.strip())
    return programs


def deal(seconds, alone, loads):
    """Assign programs to guests: {program: number}, seconds of the longest guest.

    loads are the other loads of the processors of the guests.
    """
    chosen = {}
    for program in sorted(seconds, key=lambda name: (name not in alone, -seconds[name])):
        number = 0 if program in alone else loads.index(min(loads))
        chosen[program] = number
        loads[number] += seconds[program]
    return chosen, max(loads)


def deal_best(seconds, alone, others, jobs):
    """Assign programs to the smallest number of guests that ends soonest.

    others is the time of a guest that runs after one of them if there are as many
    as jobs.
    """
    best = None
    for guests in range(1, min(jobs, 1 + int(sum(seconds.values()) // WORTH_S)) + 1):
        loads = [0.0] * guests
        if guests == jobs:
            loads[-1] = others
        chosen, end = deal(seconds, alone, loads)
        if not best or end < best[1]:
            best = chosen, end
    return best[0]


def main():
    """Read the tests, assign them, print the plan."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('tests', help='file with the tests')
    parser.add_argument('--jobs', type=int, required=True, help='guests side by side')
    parser.add_argument('--known', help='file with durations of other runs')
    parser.add_argument('--alone', help='file with programs that are not to run beside each other')
    args = parser.parse_args()
    v1, v2 = read_tests(args.tests)
    estimate = durations.Estimate(args.known)

    def total(programs):
        return {program: sum(estimate.test(program, test) for test in tests)
                for program, tests in programs.items()}

    chosen = {program: 0 for program in v1}
    if args.jobs > 1:
        others = sum(total(v2).values()) + BOOT_S if v2 else 0.0
        chosen = deal_best(total(v1), read_alone(args.alone), others, args.jobs)
    # Numbers of guests with tests, in the order in which the tests are shown
    numbers = list(dict.fromkeys(chosen[program] for program in v1))
    for program, tests in v1.items():
        number = numbers.index(chosen[program])
        for test in tests:
            print('boot-v1' if not number else f'boot-v1-{number + 1}', program, test)
    for program, tests in v2.items():
        for test in tests:
            print('boot-v2', program, test)


if __name__ == '__main__':
    main()
