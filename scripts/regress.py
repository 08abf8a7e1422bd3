#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Compare the output of the program observe on the base and on the patched kernel.

A line is "NAME: TEXT", where NAME is AREA.NAME or AREA.NAME.KEY; "# run N" starts a
repetition. A difference has to be listed in the file of differences, one per line,
separated by tabs:

    NAME  TEXT-ON-BASE  TEXT-ON-PATCHED  PROMISE

NAME is a glob, a * in a text matches anything, and a text of - means that the kernel
prints no such line. These are errors: a difference that is not listed; a listed one that
is not seen; an observation that differs between runs; one that was broken, printed nothing,
or ran into its deadline on both kernels; and no observation at all.

Writes results.json and junit.xml to the folder of base.txt and patched.txt, and exits with
the statuses of verdict.py.
"""

import argparse
import collections
import fnmatch
import os
import re
import sys

# The source tree is only read
sys.dont_write_bytecode = True
import verdict  # noqa: E402 pylint: disable=wrong-import-position

KERNELS = ('base', 'patched')
NOTHING = '-'
SKIPPED, BROKEN, DEADLINE = '.skipped', '.broken', '.deadline'

Difference = collections.namedtuple('Difference', 'where name texts promise')


def read_promises(path):
    """The keys of the promises."""
    with open(path, encoding='utf-8') as file:
        return {line.split('\t')[0] for line in file if '\t' in line and line[0] != '#'}


def read_differences(path, promises):
    """The list of differences."""
    found = []
    with open(path, encoding='utf-8') as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip('\n')
            if not line or line[0] == '#':
                continue
            where = f'{path}:{number}'
            fields = line.split('\t')
            if len(fields) != 4 or not all(fields):
                verdict.die(verdict.USAGE, f'{where}: want NAME, the text on base, the text on '
                            'the patched kernel and a promise, with single tabs between')
            if fields[3] not in promises:
                verdict.die(verdict.USAGE, f'{where}: there is no promise {fields[3]}')
            found.append(Difference(where, fields[0], tuple(fields[1:3]), fields[3]))
    return found


def read_runs(path):
    """The observations on a kernel: for each run {NAME: TEXT}, in order."""
    runs = []
    try:
        with open(path, encoding='utf-8', errors='replace') as file:
            lines = [line.rstrip('\r\n') for line in file]
    except OSError as error:
        verdict.die(verdict.MACHINERY, f'cannot read what was observed: {error}')
    for line in lines:
        if line.startswith('# run ') or not runs:
            runs.append({})
        if line and line[0] != '#':
            name, _, text = line.partition(': ')
            # A repeated name is one observation with two texts
            runs[-1][name] = f'{runs[-1][name]} | {text}' if name in runs[-1] else text
    return runs


def fits(pattern, text):
    """Does this match the listed text?"""
    words = [re.escape(word) for word in pattern.split('*')]
    return re.fullmatch('.*'.join(words), text) is not None


class Comparison:
    """Compares two kernels line by line."""

    def __init__(self, differences):
        self.verdict = verdict.Verdict()
        self.differences = differences
        self.seen = set()       # listed differences that were seen

    def add(self, name, status, *log):
        """Add a result; log has the details."""
        self.verdict.tests.append({'name': name, 'status': status, 'log': list(log)})
        if status == 'fail':
            self.verdict.problem(verdict.FAIL, f'{name}: {log[0]}')

    def listed(self, name, texts):
        """The list's line for a difference, or None."""
        for difference in self.differences:
            if fnmatch.fnmatchcase(name, difference.name) and \
               all(map(fits, difference.texts, texts)):
                self.seen.add(difference)
                return difference
        return None

    def compare(self, name, texts, may_skip):
        """Compare one line of both kernels."""
        log = [f'{kernel}: {text}' for kernel, text in zip(KERNELS, texts)]
        if name.endswith(SKIPPED):
            if may_skip and texts[0] == texts[1]:
                self.add(name, 'skip', texts[0])
            else:
                self.add(name, 'fail', 'was skipped but must run here', *log)
        elif name.endswith(BROKEN):
            self.add(name, 'fail', 'did not come to what it observes', *log)
        elif name.endswith(DEADLINE) and NOTHING not in texts:
            self.add(name, 'fail', 'ran into its deadline on both kernels', *log)
        elif texts[0] == texts[1]:
            self.add(name, 'pass', texts[0])
        else:
            difference = self.listed(name, texts)
            if difference:
                self.add(name, 'pass', *log)
                self.verdict.tests[-1]['listed'] = difference.promise
            else:
                self.add(name, 'fail', 'differs', *log)

    def stale(self, difference, everything):
        """Is a listed difference outdated? Not if its observation was not made."""
        if difference in self.seen:
            return False
        names = [test['name'] for test in self.verdict.tests]
        skipped = [name[:-len(SKIPPED)] for name in names if name.endswith(SKIPPED)]
        if any(fnmatch.fnmatchcase(name, difference.name) or
               fnmatch.fnmatchcase(f'{name}.key', difference.name) or
               difference.name.startswith(f'{name}.') for name in skipped):
            return False
        return everything or any(fnmatch.fnmatchcase(name, difference.name) for name in names)

    def judge_list(self, everything):
        """Every listed difference has to be seen; if the texts are the same, it fails."""
        for difference in self.differences:
            if not self.stale(difference, everything):
                continue
            message = f'{difference.where}: {difference.name} does not differ like that: ' \
                      'mend the line or remove it'
            self.verdict.problem(verdict.FAIL, message)
            for test in self.verdict.tests:
                if test['status'] == 'pass' and 'listed' not in test and \
                   fnmatch.fnmatchcase(test['name'], difference.name):
                    test['status'] = 'fail'
                    test['log'] = ['is listed to differ, and does not', *test['log']]


def constant(runs, kernel, comparison):
    """The observations of all runs on a kernel; a difference between runs is a failure."""
    names = list(dict.fromkeys(name for run in runs for name in run))
    shown = {}
    for name in names:
        texts = collections.Counter(run.get(name, NOTHING) for run in runs)
        if len(texts) == 1:
            shown[name] = texts.popitem()[0]
        else:
            comparison.add(name, 'fail', f'is not the same each time on {kernel}',
                           *(f'{count} times: {text}' for text, count in texts.items()))
    return shown, set(names) - set(shown)


def judge_missing(comparison, path, shown):
    """Every observation must have printed something on both kernels."""
    with open(path, encoding='utf-8') as file:
        wanted = file.read().split()
    for kernel, names in shown.items():
        made = {'.'.join(name.split('.')[:2]) for name in names}
        missing = [name for name in wanted if name not in made]
        if missing:
            comparison.verdict.problem(
                verdict.USAGE, f'{len(missing)} observations have no result on the {kernel} '
                'kernel: ' + ' '.join(missing))


def print_comparison(result):
    """Print a line for each result, details of differences, and the counts."""
    for test in result.tests:
        if test['status'] == 'fail':
            print(f'  DIFFERS {test["name"]}: {test["log"][0]}')
            for line in test['log'][1:]:
                print(f'      {line}')
        elif 'listed' in test:
            print(f'  ok {test["name"]} differs as listed, for {test["listed"]}')
        elif test['status'] == 'skip':
            print(f'  skipped {test["name"]}: {test["log"][0]}')
        else:
            print(f'  ok {test["name"]}')
    verdict.print_counts(result)


def parse_arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('results', help='folder with base.txt, patched.txt and *-dmesg.txt')
    parser.add_argument('--differences', required=True, help='the list of differences')
    parser.add_argument('--promises', required=True, help='the list of promises')
    parser.add_argument('--splats', required=True, help='file of splat patterns')
    parser.add_argument('--guest-status', type=int, default=0, help='the worst of guest.sh')
    parser.add_argument('--wanted', help='file with the names of the observations')
    parser.add_argument('--tests', default='', help='what of them was asked for; empty: all')
    parser.add_argument('--may-skip', action='store_true', help='an observation may be skipped')
    parser.add_argument('--setting', action='append', default=[], metavar='NAME=VALUE',
                        help='recorded in results.json')
    return parser.parse_args()


def main():
    """Judge one results folder."""
    args = parse_arguments()
    patterns = verdict.read_splat_patterns(args.splats)
    comparison = Comparison(read_differences(args.differences, read_promises(args.promises)))
    result = comparison.verdict

    splats = []
    for kernel in KERNELS:
        path = os.path.join(args.results, f'{kernel}-dmesg.txt')
        splats += verdict.find_splats(path, patterns)
    if splats:
        result.problem(verdict.PANIC, f'a kernel printed {len(splats)} lines that it must not: '
                       + splats[0][1])
    if args.guest_status in (verdict.PANIC, verdict.TIMEOUT, verdict.MACHINERY):
        result.problem(args.guest_status, 'a guest did not end well')
    elif args.guest_status:
        result.problem(verdict.FAIL, f'observe exited with {args.guest_status}')

    shown, flaky = {}, set()
    for kernel in KERNELS:
        runs = read_runs(os.path.join(args.results, f'{kernel}.txt'))
        shown[kernel], changed = constant(runs, kernel, comparison)
        flaky |= changed
    if not any(shown.values()):
        result.problem(verdict.USAGE, 'nothing was observed')
    for name in dict.fromkeys([*shown['base'], *shown['patched']]):
        if name not in flaky:
            texts = [shown[kernel].get(name, NOTHING) for kernel in KERNELS]
            comparison.compare(name, texts, args.may_skip)
    if args.wanted:
        judge_missing(comparison, args.wanted,
                      {kernel: flaky | set(names) for kernel, names in shown.items()})
    if any(shown.values()):
        comparison.judge_list(not args.tests)

    verdict.write_junit(result, args)
    verdict.write_results(result, args, splats)
    print_comparison(result)
    return result.status()


if __name__ == '__main__':
    sys.exit(main())
