#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Show the results of guests as they arrive, and record how long tests take.

The plan has a line for each test, "GUEST PROGRAM TEST", in the order in which
results are shown, whichever guest is faster; DIR/GUEST/out.txt is the output of a
guest so far. DIR/GUEST/ended exists once that guest has ended, DIR/ended once all have.

A test that fails is shown with its output, unless failures are expected; the
verdict shows the server's log, too.
"""

import argparse
import collections
import os
import re
import sys
import time

import durations

POLL_S = 0.02           # resolution of durations
PROGRESS_S = 30

BEGIN = re.compile(r'# selftests: fuse_wb: (\S+)$')
END = re.compile(r'(?:not )?ok \d+ selftests: fuse_wb: (\S+)')
RUN = re.compile(r'# #  RUN +(\S+) \.\.\.')
RESULT = re.compile(r'# ((?:not )?ok) \d+ ((\S+).*)')
SAID = re.compile(r'# # ([^ ].*[^:])$')


class Section:
    """The results of one program in one guest, kept until they are shown."""

    def __init__(self, program):
        self.program = program
        self.lines = []
        self.ended = False


class Guest:
    """The state of one guest's tests, from its output."""

    def __init__(self, folder, sections):
        self.folder = folder
        self.coming = collections.deque(sections)
        self.section = None
        self.file = None
        self.rest = b''
        self.began = {}
        self.said = []

    def read(self):
        """Return the lines completed since the last call."""
        if not self.file:
            try:
                self.file = open(os.path.join(self.folder, 'out.txt'), 'rb', buffering=0)
            except FileNotFoundError:
                return []
        *lines, self.rest = (self.rest + (self.file.read() or b'')).split(b'\n')
        return [line.decode('utf-8', 'replace').rstrip('\r') for line in lines]

    def ended(self):
        """Has the guest ended, with all output read?"""
        return os.path.exists(os.path.join(self.folder, 'ended'))

    def enter(self, program):
        """A program starts: those planned before it that have not started never will."""
        self.leave()
        while self.coming:
            self.section = self.coming.popleft()
            if self.section.program == program:
                break
            self.leave()

    def leave(self):
        """The running program has ended."""
        if self.section:
            self.section.ended = True

    def give_up(self):
        """The guest has ended: programs that have not started never will."""
        self.leave()
        while self.coming:
            self.section = self.coming.popleft()
            self.leave()


class Follower:
    """All guests of a run."""

    def __init__(self, args):
        self.reasons = not args.expect
        self.estimate = durations.Estimate(args.known)
        self.times = collections.defaultdict(list)
        self.passed = {}        # the times of tests that passed: without deadlines
        self.done = 0
        self.begin = time.monotonic()
        self.sections = collections.deque()
        self.left = {}          # of each guest: seconds for the remaining tests
        self.expected = 0.0     # of the tests that have ended
        self.read_plan(args)
        self.total = sum(len(tests) for tests in self.plan.values()) * args.repeat
        self.jobs = args.jobs

    def read_plan(self, args):
        """Read the plan: all sections in order, and those of each guest."""
        self.plan = {}
        with open(args.plan, encoding='utf-8') as file:
            for line in file:
                guest, program, test = line.split()
                self.plan.setdefault((guest, program), []).append(test)
        own = {}
        for _ in range(args.repeat):
            for guest, program in self.plan:
                section = Section(program)
                self.sections.append(section)
                own.setdefault(guest, []).append(section)
        for (guest, program), tests in self.plan.items():
            seconds = sum(self.estimate.test(program, test) for test in tests)
            self.left[guest] = self.left.get(guest, 0.0) + seconds * args.repeat
        self.guests = {guest: Guest(os.path.join(args.folder, guest), sections)
                       for guest, sections in own.items()}

    def take(self, name, guest, line, now):
        """Process one line of a guest."""
        if match := BEGIN.match(line):
            guest.enter(match.group(1))
            guest.began = {'program': now}
        elif match := RUN.match(line):
            guest.began['test'] = now
            guest.said = []
        elif match := SAID.match(line):
            guest.said.append(match.group(1))
        elif (match := RESULT.match(line)) and guest.section:
            self.result(name, guest, match, now)
        # An incomplete last line of a program precedes its result in the same line.
        if (match := END.search(line)) and guest.section:
            if 'program' in guest.began:
                self.times[match.group(1)].append(now - guest.began.pop('program'))
            guest.leave()

    def result(self, name, guest, match, now):
        """Process the result of a test."""
        program, test = guest.section.program, match.group(3)
        guest.section.lines.append(f'  {match.group(1)} {match.group(2)}')
        if match.group(1) == 'not ok' and self.reasons:
            guest.section.lines += ['\t' + text for text in guest.said]
        if 'test' in guest.began:
            times = self.times[f'{program}:{test}']
            times.append(now - guest.began.pop('test'))
            if match.group(1) == 'ok':
                self.passed[f'{program}:{test}'] = times
        self.done += 1
        seconds = self.estimate.test(program, test)
        self.expected += seconds
        self.left[name] -= seconds

    def show(self):
        """Print the results that are next in order."""
        while self.sections:
            section = self.sections[0]
            for line in section.lines:
                print(line, file=sys.stderr)
            section.lines.clear()
            if not section.ended:
                break
            self.sections.popleft()
        sys.stderr.flush()

    def poll(self):
        """Read the new output of all guests."""
        now = time.monotonic()
        for name, guest in self.guests.items():
            lines = guest.read()
            for line in lines:
                self.take(name, guest, line, now)
            if not lines and (guest.coming or guest.section) and guest.ended():
                guest.give_up()
        self.show()

    def finish(self):
        """All guests have ended: show the remaining results."""
        self.poll()
        for guest in self.guests.values():
            guest.give_up()
        self.show()

    def seconds_left(self):
        """Estimate the remaining time, by the tests that ended and their known durations."""
        beside = min(self.jobs, len(self.left))
        left = max(max(self.left.values()), sum(self.left.values()) / beside)
        passed = time.monotonic() - self.begin
        return left * passed * beside / self.expected if self.expected else left

    def progress(self):
        """Print the progress of the run."""
        print(f'fuse_wb: {self.done} of {self.total} tests, '
              f'{clock(time.monotonic() - self.begin)}, '
              f'about {clock(self.seconds_left())} left', file=sys.stderr)


def clock(seconds):
    """Minutes and seconds, as all scripts print them."""
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    return f'{minutes}:{seconds:02}'


def parse_arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('folder', help='folder with those of the guests')
    parser.add_argument('--plan', required=True, help='file with the tests of each guest')
    parser.add_argument('--durations', required=True, help='file to write')
    parser.add_argument('--known', help='file with durations of other runs; updated')
    parser.add_argument('--repeat', type=int, default=1, help='each guest does all so often')
    parser.add_argument('--jobs', type=int, default=1, help='guests that run side by side')
    parser.add_argument('--expect', action='store_true', help='failures are expected')
    return parser.parse_args()


def main():
    """Follow the guests until they have ended."""
    args = parse_arguments()
    ended = os.path.join(args.folder, 'ended')
    follower = Follower(args)
    shown = time.monotonic()
    while not os.path.exists(ended):
        follower.poll()
        if time.monotonic() - shown >= PROGRESS_S:
            shown = time.monotonic()
            follower.progress()
        time.sleep(POLL_S)
    follower.finish()
    durations.write(args.durations, follower.times)
    if args.known:
        durations.update(args.known, follower.passed)


if __name__ == '__main__':
    main()
