#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Read and write files with the durations of tests.

A line is "SECONDS PROGRAM:TEST" for a test, and "SECONDS PROGRAM" for a whole
program, including its start. A repeated test has a line for each run.
"""

import collections
import os
import re
import statistics

LINE = re.compile(r'(\d+\.\d+) (\S+)')


def read(path):
    """The durations in a file: a list for each name. A missing file has none."""
    found = collections.defaultdict(list)
    if not path or not os.path.exists(path):
        return found
    with open(path, encoding='utf-8') as file:
        for line in file:
            match = LINE.fullmatch(line.strip())
            if match:
                found[match.group(2)].append(float(match.group(1)))
    return found


def write(path, durations):
    """Write such a file atomically: a reader sees the old file or the new one."""
    with open(f'{path}.new', 'w', encoding='utf-8') as file:
        for name, times in durations.items():
            for seconds in times:
                print(f'{seconds:.3f} {name}', file=file)
    os.replace(f'{path}.new', path)


def update(path, durations):
    """Keep the newest duration of each name in a file."""
    known = read(path)
    known.update({name: times[-1:] for name, times in durations.items() if times})
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write(path, known)


class Estimate:
    """Predict how long tests will take, from the durations of other runs."""

    def __init__(self, path):
        self.known = {name: times[-1] for name, times in read(path).items()}
        tests = [seconds for name, seconds in self.known.items() if ':' in name]
        self.usual = statistics.mean(tests) if tests else 0.5

    def test(self, program, name):
        """Seconds for a test; the average of the others if it is not known."""
        return self.known.get(f'{program}:{name}', self.usual)
