#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Judge a run in the guest by the files that it left.

The kernel's own parser, kunit_parser.py, reads the KTAP of both KUnit and
kselftest. This adds what the parser does not know: which tests must have run,
which are expected to fail or to be skipped on this kernel, how the guest
ended, and whether the kernel printed a splat.

Writes results.json and junit.xml to the folder of the log, prints the verdict,
and exits with a status listed in README.md, the worst one if there are several.
"""

import argparse
import collections
import fnmatch
import json
import os
import re
import subprocess
import sys

import durations

PASS, FAIL, USAGE, MACHINERY, TIMEOUT, PANIC = 0, 1, 2, 69, 124, 255
SLOWEST = 10                            # tests that are shown
OUTERMOST = ('main', '<missing>')       # the parser's name for a whole log
WORST_FIRST = (PANIC, TIMEOUT, MACHINERY, FAIL, USAGE, PASS)


def die(status, message):
    """Exit with a message in the format of all scripts."""
    print(f'fuse_wb: {message}', file=sys.stderr)
    sys.exit(status)


def load_parser(kernel):
    """Import kunit_parser.py from a kernel tree, and silence its printing."""
    folder = os.path.join(kernel, 'tools/testing/kunit')
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True
    try:
        import kunit_parser  # pylint: disable=import-outside-toplevel
        import kunit_printer  # pylint: disable=import-outside-toplevel
    except ImportError as error:
        die(MACHINERY, f'no KTAP parser in {folder}: {error}')
    null = open(os.devnull, 'w', encoding='utf-8')
    kunit_parser.stdout = kunit_printer.Printer(null)
    return kunit_parser


def read_splat_patterns(path):
    """The regular expressions of the pattern file; an empty file is an error."""
    try:
        with open(path, encoding='utf-8') as file:
            lines = [line.rstrip('\n') for line in file]
    except OSError as error:
        die(MACHINERY, f'cannot read the splat patterns: {error}')
    patterns = [line for line in lines if line and not line.startswith('#')]
    if not patterns:
        die(MACHINERY, f'{path} has no pattern, so no splat would be seen')
    return [re.compile(pattern) for pattern in patterns]


def find_splats(path, patterns):
    """Lines of a kernel log that match a pattern, with their numbers."""
    if not os.path.exists(path):
        die(MACHINERY, f'there is no kernel log {path}')
    with open(path, encoding='utf-8', errors='replace') as file:
        return [(number, line.rstrip())
                for number, line in enumerate(file, 1)
                if any(pattern.search(line) for pattern in patterns)]


def read_expected(path, conditions):
    """Patterns of tests that must or may fail, or may be skipped, if a condition holds.

    A line is: CONDITION fail|may-fail|skip PATTERN, then a reason.
    """
    expected = {'fail': [], 'may-fail': [], 'skip': []}
    if not path:
        return expected
    with open(path, encoding='utf-8') as file:
        for number, line in enumerate(file, 1):
            words = line.split('#')[0].split()
            if not words:
                continue
            if len(words) < 3 or words[1] not in expected:
                die(USAGE, f'{path}:{number}: want "CONDITION fail|may-fail|skip TEST"')
            if words[0] in conditions:
                expected[words[1]].append(words[2])
    return expected


def split_documents(lines):
    """Split a log into its KTAP documents, one for each boot and each repetition."""
    documents = []
    for line in lines:
        if re.match(r'(\[[ \d.]+\] )?K?TAP version \d+', line):
            documents.append([])
        if documents:
            documents[-1].append(line)
    return documents


def kselftest_lines(path):
    """The log of the kselftest runner, with each level of "# " removed.

    The runner marks the output of a test with "# ", and not by indentation as
    KTAP does. A program may end in the middle of a line; then the runner's
    own result line follows without a line break.
    """
    with open(path, encoding='utf-8', errors='replace') as file:
        return [line.rstrip('\r\n') for line in file]


def unprefix(lines):
    """Convert the runner's "# " to the indentation of a subtest for kunit_parser."""
    return [line[2:] if line.startswith('# ') else line for line in lines]


def name_of(test):
    """The name of a test; for a test that never ended, from its output."""
    name = test.name.replace('selftests: fuse_wb: ', '')
    for line in [] if name else test.log:
        found = re.search(r'selftests: fuse_wb: (\S+)|RUN\s+(\S+) \.\.\.', line)
        name = found.group(1) or found.group(2) if found else name
    return name


def group_name(test):
    """The name of a test with subtests: the outermost is the log itself."""
    return 'the log' if test.name in OUTERMOST else name_of(test)


def leaves(test, prefix=''):
    """The tests without subtests, as (name, status, log) tuples.

    The parser adds entries for tests that are missing at the end of a log; only
    the first of them, the one that was running, has any output.
    """
    name = name_of(test)
    if not name or (name in OUTERMOST and not test.subtests):
        return
    if prefix:
        name = f'{prefix}:{name}'
    if not test.subtests:
        yield name, test.status.name, list(test.log)
        return
    for subtest in test.subtests:
        yield from leaves(subtest, '' if name == 'main' else name)


class Verdict:
    """The findings about a run, and its exit status."""

    def __init__(self):
        self.tests = []         # dicts: name, status, log, seconds
        self.programs = {}      # seconds of the whole program
        self.problems = []      # (exit status, message)

    def problem(self, status, message):
        """Record a problem that makes the run fail with a status."""
        self.problems.append((status, message))

    def status(self):
        """The exit status: the worst problem's."""
        found = {status for status, _ in self.problems}
        return next(s for s in WORST_FIRST if s in found or s == PASS)

    def count(self, *statuses):
        """How many tests have one of the statuses."""
        return sum(test['status'] in statuses for test in self.tests)

    def add_documents(self, parser, documents):
        """Parse KTAP documents and add their tests.

        A test that is in several of them was repeated: number its runs.
        """
        runs = collections.Counter()
        for document in documents:
            result = parser.parse_run_tests(document)
            found = list(leaves(result))
            runs.update({name for name, _, _ in found})
            for name, status, log in found:
                self.tests.append({
                    'name': f'{name} #{runs[name]}',
                    'status': {'SUCCESS': 'pass', 'SKIPPED': 'skip'}.get(status, 'fail'),
                    'log': log,
                })
                if status not in ('SUCCESS', 'SKIPPED', 'FAILURE'):
                    self.tests[-1]['log'].append(f'({status})')
            for group in groups(result):
                if group.counts.errors or not group.ok_status():
                    self.broken_group(group)
        for test in self.tests:
            name = test['name'].rpartition(' #')[0]
            if runs[name] == 1:
                test['name'] = name
        if not self.tests:
            self.problem(USAGE, 'no test was run')

    def broken_group(self, group):
        """Add a program that failed although all its tests in the log passed."""
        bad = [t for t in group.subtests if not t.ok_status()]
        if not bad or group.counts.errors:
            self.problem(FAIL, f'{group_name(group)}: ended early, or '
                         'what it printed is not a complete test report')

    def judge_tests(self, expected):
        """Compare the results with those expected of this kernel."""
        for test in self.tests:
            name = test['name'].split(' #')[0]
            must_fail = matches(name, expected['fail'])
            if test['status'] == 'fail':
                test['expected'] = must_fail or matches(name, expected['may-fail'])
                if not test['expected']:
                    self.problem(FAIL, f'{test["name"]} failed')
            elif test['status'] == 'skip':
                if must_fail or not matches(name, expected['skip']):
                    self.problem(USAGE, f'{test["name"]} was skipped but must run here')
            elif must_fail:
                self.problem(FAIL, f'{test["name"]} passed but is listed to fail here')
        if self.tests and not self.count('pass', 'fail'):
            self.problem(USAGE, 'every test was skipped')

    def add_durations(self, path):
        """Add how long tests and programs took; those that hung or died have no duration."""
        found = durations.read(path)
        self.programs = {name: round(sum(times), 3)
                         for name, times in found.items() if ':' not in name}
        for test in self.tests:
            times = found.get(test['name'].rpartition(' #')[0] or test['name'])
            if times:
                test['seconds'] = times.pop(0)

    def sort_tests(self, wanted):
        """Sort the tests of concurrent guests into the order of their list."""
        place = {name: number for number, name in enumerate(wanted)}

        def key(test):
            name, _, run = test['name'].partition(' #')
            return int(run or 0), place.get(name, len(place))
        self.tests.sort(key=key)

    def judge_missing(self, wanted):
        """Check that every test that the programs list has a result."""
        seen = {test['name'].split(' #')[0] for test in self.tests}
        missing = [name for name in wanted if name not in seen]
        if missing:
            self.problem(USAGE, f'{len(missing)} listed tests have no result: ' +
                         ' '.join(missing))


def groups(test):
    """All tests with subtests, including the whole log."""
    if test.subtests:
        yield test
    for subtest in test.subtests:
        yield from groups(subtest)


def matches(name, patterns):
    """Does a test's full name, or its last part, match one of the patterns?"""
    return any(fnmatch.fnmatchcase(name, p) or
               fnmatch.fnmatchcase(re.split(r'[.:]', name)[-1], p)
               for p in patterns)


def write_results(verdict, args, splats):
    """Write results.json."""
    with open(os.path.join(args.results, 'results.json'), 'w', encoding='utf-8') as file:
        json.dump({
            'status': verdict.status(),
            'passed': verdict.count('pass'),
            'failed': verdict.count('fail'),
            'skipped': verdict.count('skip'),
            'guest_status': args.guest_status,
            'settings': dict(s.split('=', 1) for s in args.setting),
            'problems': [message for _, message in verdict.problems],
            'splats': [{'line': number, 'text': text} for number, text in splats],
            'programs': verdict.programs,
            'tests': verdict.tests,
        }, file, indent=1)
        file.write('\n')


def write_junit(verdict, args):
    """Let tap2junit generate junit.xml from flat TAP."""
    flat = os.path.join(args.results, 'flat.tap')
    with open(flat, 'w', encoding='utf-8') as file:
        print(f'1..{len(verdict.tests) + 1}', file=file)
        for number, test in enumerate(verdict.tests, 1):
            word = 'not ok' if test['status'] == 'fail' else 'ok'
            skip = ' (skipped) # SKIP' if test['status'] == 'skip' else ''
            print(f'{word} {number} - {test["name"]}{skip}', file=file)
            for line in test['log']:
                print(f'# {line}', file=file)
        others = [m for _, m in verdict.problems]
        word = 'not ok' if others else 'ok'
        print(f'{word} {len(verdict.tests) + 1} - the run as a whole', file=file)
        for message in others:
            print(f'# {message}', file=file)
    try:
        subprocess.run(['tap2junit', '--name', 'fuse_wb', flat], check=True,
                       stdout=subprocess.DEVNULL)
        os.replace(flat + '.xml', os.path.join(args.results, 'junit.xml'))
    except (OSError, subprocess.CalledProcessError) as error:
        verdict.problem(MACHINERY, f'cannot write junit.xml with tap2junit: {error}')
    os.remove(flat)


def print_counts(verdict):
    """Print the end of the verdict: the problems and the counts."""
    if verdict.problems:
        print()
    for _, message in verdict.problems:
        print(f'fuse_wb: {message}')
    print(f'\n{verdict.count("pass")} passed, {verdict.count("fail")} failed, '
          f'{verdict.count("skip")} skipped')


def print_slowest(verdict):
    """Print the slowest of many tests."""
    timed = [test for test in verdict.tests if 'seconds' in test]
    if len(timed) <= SLOWEST:
        return
    timed.sort(key=lambda test: -test['seconds'])
    print(f'\nThe slowest of {len(timed)} tests, '
          f'which took {sum(test["seconds"] for test in timed):.0f} s:')
    for test in timed[:SLOWEST]:
        print(f'    {test["seconds"]:6.1f} s  {test["name"]}')
    programs = sorted(verdict.programs.items(), key=lambda item: -item[1])[:SLOWEST]
    print('Of the programs:', ', '.join(f'{name} {seconds:.0f} s' for name, seconds in programs))


def print_verdict(verdict, args, splats):
    """Print the verdict: failures with their logs, problems, and the counts."""
    for test in verdict.tests:
        if test['status'] != 'fail':
            continue
        word = 'failed, as listed' if test.get('expected') else 'FAILED'
        print(f'\n{word}: {test["name"]}')
        for line in test['log']:
            print(f'    {line}')
    if splats:
        print('\nThe kernel complained:')
        for number, text in splats[:20]:
            print(f'    dmesg.txt:{number}: {text}')
    print_slowest(verdict)
    print_counts(verdict)


def parse_arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('results', help='folder with test.log and dmesg.txt')
    parser.add_argument('--kernel', required=True, help='kernel tree with kunit_parser.py')
    parser.add_argument('--splats', required=True, help='file of splat patterns')
    parser.add_argument('--format', choices=('kselftest', 'kunit'), default='kselftest')
    parser.add_argument('--guest-status', type=int, default=0, help='of guest.sh')
    parser.add_argument('--expected', help='file of expected failures and skips')
    parser.add_argument('--condition', action='append', default=[],
                        help='condition that holds, for --expected')
    parser.add_argument('--wanted', help='file with the names of the tests that must run')
    parser.add_argument('--durations', help='file that durations.py reads')
    parser.add_argument('--in-order', action='store_true',
                        help='put the tests into the order of --wanted')
    parser.add_argument('--setting', action='append', default=[], metavar='NAME=VALUE',
                        help='recorded in results.json')
    return parser.parse_args()


def main():
    """Judge one results folder."""
    args = parse_arguments()
    parser = load_parser(args.kernel)
    patterns = read_splat_patterns(args.splats)
    expected = read_expected(args.expected, args.condition)
    verdict = Verdict()

    splats = find_splats(os.path.join(args.results, 'dmesg.txt'), patterns)
    if splats:
        verdict.problem(PANIC, f'the kernel printed {len(splats)} lines that it must not')
    if args.guest_status in (PANIC, TIMEOUT, MACHINERY):
        verdict.problem(args.guest_status, 'the guest did not end well')
    elif args.guest_status:
        verdict.problem(FAIL, f'the guest\'s command exited with {args.guest_status}')

    lines = kselftest_lines(os.path.join(args.results, 'test.log'))
    if args.format == 'kselftest':
        documents = [unprefix(d) for d in split_documents(lines)]
    else:
        documents = split_documents(lines) or [lines]
    verdict.add_documents(parser, documents)
    verdict.add_durations(args.durations)
    verdict.judge_tests(expected)
    if args.wanted:
        with open(args.wanted, encoding='utf-8') as file:
            wanted = file.read().split()
        verdict.judge_missing(wanted)
        if args.in_order:
            verdict.sort_tests(wanted)

    write_junit(verdict, args)
    write_results(verdict, args, splats)
    print_verdict(verdict, args, splats)
    return verdict.status()


if __name__ == '__main__':
    sys.exit(main())
