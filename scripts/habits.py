#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Find code in the sources of tests that makes them depend on timing.

habits.py ALLOWED FOLDER...     report each occurrence that ALLOWED does not list

Each function with one of these is reported:

    sleep       it sleeps for a fixed time, which guarantees nothing
    yield       it yields without checking a deadline, which guarantees nothing either
    clock       it reads a clock for something other than a deadline
    silent      it gives up at a deadline without printing what it waited for

A line of ALLOWED is "FILE FUNCTION WHAT # REASON". A line without an occurrence is
reported as well. Exit status: 0 if there is nothing to report, 1 if there is, 2 for
wrong usage.
"""

import glob
import os
import re
import sys

import waits

USAGE = 2

SLEEP = re.compile(r'\b(?:u|nano|clock_nano|m|s|f)?sleep\(|\busleep_range\(|'
                   r'\b[mu]delay\(|'
                   r'\b(?:p?poll|select)\((?:NULL|0), ')
YIELD = re.compile(r'\bsched_yield\(|\bcond_resched\(|\bschedule_timeout\w*\(')
CLOCK = re.compile(r'\b(?:now_usec|clock_gettime|gettimeofday|time|ktime_get\w*)\(|\bjiffies\b')
LIMIT = r'\w*(?:deadline|end)\w*'
# now_usec() < deadline, the same with swapped operands, and setting a deadline
DEADLINE = re.compile(rf'now_usec\(\) [<>]=? {LIMIT}|{LIMIT}, now_usec\(\)|'
                      rf'{LIMIT} = (?:now_usec\(\)|jiffies)|time_\w+\(jiffies, {LIMIT}\)')
GIVES_UP = re.compile(rf'now_usec\(\) [<>]=? {LIMIT}|{LIMIT}, now_usec\(\)|time_\w+\(jiffies, {LIMIT}\)')
SAYS = re.compile(r'\b(?:TH_LOG|SKIP|perror|v?f?d?printf|warnx?|kunit_\w+|KUNIT_\w+|'
                  r'pr_err|\w*_(?:print|lost)|call_wait_\w+|failed|fail)\(')


def usage(message):
    """Complain, and exit."""
    print(f'habits.py: {message}', file=sys.stderr)
    sys.exit(USAGE)


def habits(body):
    """The habits found in the body of a function."""
    if SLEEP.search(body):
        yield 'sleep'
    if YIELD.search(body) and not GIVES_UP.search(body):
        yield 'yield'
    if CLOCK.search(DEADLINE.sub('', body)):
        yield 'clock'
    if GIVES_UP.search(body) and not SAYS.search(body):
        yield 'silent'


def functions_of(text):
    """The functions of a source file, tests by the name of the test: (name, body)."""
    for head, body in waits.FUNCTION.findall(text):
        test = re.match(r'(?:TEST\w*)\((?:\w+,\s*)?(\w+)', head)
        name = test or waits.NAME.search(head)
        if name:
            yield name.group(1), body


def find(folders):
    """All habits found in the C files of folders: {(file, function, what)}."""
    found = set()
    for folder in folders:
        paths = glob.glob(os.path.join(folder, '*.c'))
        if not paths:
            usage(f'{folder} has no C file')
        for path in paths:
            for name, body in functions_of(waits.read_code(path)):
                found |= {(os.path.basename(path), name, what) for what in habits(body)}
    return found


def read_allowed(path):
    """The lines of ALLOWED, in the form that find() returns."""
    allowed = set()
    try:
        with open(path, encoding='utf-8') as file:
            lines = file.read().splitlines()
    except OSError as error:
        usage(f'cannot read {path}: {error.strerror}')
    for number, line in enumerate(lines, 1):
        words, _, reason = line.partition('#')
        if not words.strip():
            continue
        if len(words.split()) != 3 or not reason.strip():
            usage(f'{path}:{number}: want "FILE FUNCTION WHAT # REASON"')
        allowed.add(tuple(words.split()))
    return allowed


TEXTS = {
    'sleep': 'sleeps for a time: wait for what has to happen, see wait.h',
    'yield': 'lets others run without a deadline: wait for what has to happen, see wait.h',
    'clock': 'reads a clock: set a time, or assert an order',
    'silent': 'gives up at a deadline: print what was awaited',
}


def main():
    """Compare the habits found with ALLOWED."""
    if len(sys.argv) < 3:
        usage('want: habits.py ALLOWED FOLDER...')
    allowed = read_allowed(sys.argv[1])
    found = find(sys.argv[2:])
    for file, function, what in sorted(found - allowed):
        print(f'{file}: {function}() {TEXTS[what]}, '
              f'or say in {sys.argv[1]} why it may')
    for file, function, what in sorted(allowed - found):
        print(f'{sys.argv[1]}: {file} {function} {what}: is not there any more')
    return int(found != allowed)


if __name__ == '__main__':
    sys.exit(main())
