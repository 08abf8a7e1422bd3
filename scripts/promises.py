#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Generate the pages of the promises and their proofs.

promises.py [check]: without an argument, write the pages, otherwise print errors
in them. They are scripts/tests/promises.md and patches.md, generated from

    tools/testing/selftests/fuse_wb/promises    one promise per line, with its key
    "Promise: KEY, KEY" above a test            in the sources of the tests
    scripts/tests/mutants/*                     kernels that break a promise
    tools/testing/selftests/fuse_wb/expected    tests that fail on the base kernel

Each test has to fail on one of these kernels. A key in the first comment of a file
holds for all tests of the file, in another comment for the test below it.
"""

import collections
import fnmatch
import glob
import os
import re
import sys
import textwrap

# The source tree is only read
sys.dont_write_bytecode = True
import verdict  # noqa: E402 pylint: disable=wrong-import-position

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SELFTEST = 'tools/testing/selftests/fuse_wb'
PROMISES = f'{SELFTEST}/promises'
MUTANTS = 'scripts/tests/mutants'
EXPECTED = f'{SELFTEST}/expected'
COLUMNS = 100

PROMISES_PAGE = 'scripts/tests/promises.md'
PROMISES_HEAD = '''\
# Promise by promise

Made by `make promises`; do not edit it. It comes from three places:

- the promises, with their keys: `tools/testing/selftests/fuse_wb/promises`
- the tests that prove them: "Promise: KEY" in the comment above a test
- the mutants: `scripts/tests/mutants` has kernels that break a promise, a line each, with
  the tests that have to fail on them

A name that begins with `fuse_wb_` is a KUnit suite, any other is a kselftest program.
`make mutants` runs all mutants, `make check` one. [patches.md](patches.md) has the tests
that have to fail when a patch is left out.
'''

PATCHES_PAGE = 'scripts/tests/patches.md'
PATCHES_HEAD = '''\
# Patch by patch

Made by `make promises` from the file `series`, the patches and `scripts/tests/mutants`; do
not edit it.

## The series, in order'''

WITHOUT_HEAD = '''
## The tests that have to fail without a patch

`make kselftest LEAVE_OUT=PATCH` runs the tests without a patch. Here are those that
`make mutants` leaves out, alone or two together.
'''

USAGE = 2

TOKEN = re.compile(r'''
    /\*(?P<comment>.*?)\*/ |
    ^TEST_F(?:_TIMEOUT)?\((?P<fixture>\w+),\s*(?P<test>\w+) |
    ^static\ void\ (?P<case>\w+)\(struct\ kunit\ \*test\)\n\{ |
    ^(?P<include>\#include)
''', re.DOTALL | re.MULTILINE | re.VERBOSE)

# A placeholder case, which only skips with the reason.
NO_CASE = re.compile(r'^static void (\w+)\(struct kunit \*test\)\n\{\n\tkunit_skip\(.*\);\n\}',
                     re.MULTILINE)

# program: writeback_test, or a suite like fuse_wb_endings; fixture: '' in KUnit
Test = collections.namedtuple('Test', 'program fixture name')
Mutant = collections.namedtuple('Mutant', 'name file command tests')
Patch = collections.namedtuple('Patch', 'group name subject later')


def lines_of(path):
    """The lines of a table without comments."""
    with open(path, encoding='utf-8') as file:
        lines = file.read().split('\n')
    return [line for line in lines if line and line[0] != '#']


def read_promises():
    """Sections of promises: {title: {key: text}}; a comment starts a section."""
    sections = {}
    with open(os.path.join(TOP, PROMISES), encoding='utf-8') as file:
        blocks = file.read().split('\n\n')[1:]
    for block in blocks:
        title, *lines = block.strip().split('\n')
        sections[title.lstrip('# ')] = dict(line.split('\t', 1) for line in lines)
    return sections


def read_mutants():
    """All mutants of all tables."""
    mutants = []
    for path in sorted(glob.glob(os.path.join(TOP, MUTANTS, '*'))):
        for line in lines_of(path):
            name, file, command, tests = line.split('\t')[:4]
            mutants.append(Mutant(name, file, command, tests.split()))
    return mutants


def read_base():
    """The tests that fail on the base kernel, as patterns of a mutant."""
    expected = verdict.read_expected(os.path.join(TOP, EXPECTED), ['base'])
    return [test if ':' in test else f'*:*.{test}'
            for test in expected['fail'] + expected['may-fail']]


def keys_in(comment):
    """The keys in a comment."""
    found = re.search(r'Promise: ((?:[\w-]+,?\s+(?:\*\s+)?)+)', comment + ' ')
    return re.findall(r'[\w-]+', found.group(1)) if found else []


def suites_of(text):
    """The suites of a KUnit file and their cases: [(suite, case)]."""
    cases = collections.defaultdict(list)
    for name, body in re.findall(r'struct kunit_case (\w+)\[\] = \{(.*?)\n\};', text, re.DOTALL):
        cases[name] += re.findall(r'KUNIT_CASE\w*\((\w+)', body)
    for body in re.findall(r'struct kunit_suite \w+ = \{(.*?)\n\};', text, re.DOTALL):
        suite = re.search(r'\.name = "(\w+)"', body).group(1)
        for case in cases[re.search(r'\.test_cases = (\w+)', body).group(1)]:
            yield suite, case


def tests_of(path):
    """The tests of a file, with the keys that apply to them."""
    with open(path, encoding='utf-8') as file:
        text = file.read()
    program = os.path.basename(path)[:-len('.c')]
    head, above, in_head, found = [], [], True, []
    for token in TOKEN.finditer(text):
        if token['include']:
            in_head = False
        elif token['comment'] is not None:
            keys = keys_in(token['comment'])
            if in_head:
                head += keys
            above = keys or above
        else:
            found.append((token['fixture'], token['test'] or token['case'],
                          list(dict.fromkeys(head + above))))
            above = []
    no_cases = NO_CASE.findall(text)
    defined = [name for _, name, _ in found]
    for fixture, name, keys in found:
        if fixture:
            yield Test(program, fixture, name), keys
        elif no_cases.count(name) < defined.count(name):
            for suite, case in suites_of(text):
                if case == name:
                    yield Test(suite, '', name), keys


def read_tests():
    """All tests, with the keys in the comments above them: {Test: [key]}."""
    paths = (glob.glob(f'{TOP}/{SELFTEST}/*_test.c') +
             glob.glob(f'{TOP}/lib/kunit-fuse/*_kunit.c'))
    return {test: keys for path in sorted(paths) for test, keys in tests_of(path)}


def read_observations():
    """The observations of make regress, as tests of a program "regress"."""
    found = []
    for path in sorted(glob.glob(f'{TOP}/{SELFTEST}/observe_*.c')):
        with open(path, encoding='utf-8') as file:
            text = file.read()
        found += re.findall(r'^OBSERVE\((\w+),\s*(\w+)', text, re.MULTILINE)
        # Observations that share a function are in a table
        found += re.findall(r'^\t\{ \.name = "(\w+)\.(\w+)"', text, re.MULTILINE)
    return [Test('regress', area, name) for area, name in found]


def matches(pattern, test):
    """Does a pattern of a mutant match a test, in any of its variants?

    A KUnit case is SUITE:CASE[:VARIANT], and fuse_wb_ is left out; a kselftest
    is PROGRAM:FIXTURE[.VARIANT].TEST, and an observation regress:AREA.NAME.
    """
    program, _, rest = pattern.partition(':')
    if not test.fixture:
        return (fnmatch.fnmatchcase(test.program, 'fuse_wb_' + program) and
                fnmatch.fnmatchcase(test.name, rest.partition(':')[0]))
    words = rest.split('.')
    return (fnmatch.fnmatchcase(test.program, program) and
            fnmatch.fnmatchcase(test.fixture, words[0]) and
            fnmatch.fnmatchcase(test.name, words[-1]))


def named(patterns, tests):
    """The tests that one of the patterns matches."""
    return [test for test in tests if any(matches(p, test) for p in patterns)]


def item(depth, text):
    """An item of a list, wrapped into lines."""
    return textwrap.fill(text, COLUMNS, initial_indent='  ' * depth + '- ',
                         subsequent_indent='  ' * (depth + 1),
                         break_long_words=False, break_on_hyphens=False)


def names(tests):
    """Tests as items: each program with its tests."""
    programs = collections.defaultdict(list)
    for test in tests:
        programs[test.program].append(f'`{test.name}`')
    for program, found in programs.items():
        yield item(1, f'**{program}**: {", ".join(found)}')


def promises_page(sections, tests, mutants):
    """The lines of the promises, their tests and the mutants that make these fail."""
    yield PROMISES_HEAD
    for title, promises in sections.items():
        yield f'## {title}\n'
        for key, text in promises.items():
            proofs = [test for test, keys in tests.items() if key in keys]
            killers = [f'`{mutant.name}`' for mutant in mutants
                       if named(mutant.tests, proofs)]
            yield item(0, f'`{key}`: {text}')
            yield from names(proofs)
            yield item(1, f'mutants: {", ".join(killers)}')
        yield ''


def read_series():
    """The patches of the series: [(group, name, subject, later kernels)].

    A comment "# [GROUP] SUBJECT" starts a group.
    """
    group, patches = '', []
    with open(os.path.join(TOP, 'series'), encoding='utf-8') as file:
        blocks = re.findall(r'((?:^#(?!\+).*\n)*)((?:^[^#\n].*\n)*)', file.read(), re.MULTILINE)
    for comment, lines in blocks:
        heading = re.search(r'^# \[([\w-]+)\] (.*)$', comment, re.MULTILINE)
        if heading:
            group = f'{heading.group(1)}: {heading.group(2)}'
        for name in lines.split():
            with open(os.path.join(TOP, name), encoding='utf-8') as file:
                text = file.read()
            subject = re.search(r'^Subject: (.*(?:\n .*)*)', text, re.MULTILINE).group(1)
            later = re.findall(r'^Later kernels (?:.+\n)+', text, re.MULTILINE)
            patches.append(Patch(group, name, ' '.join(subject.split()),
                                 ' '.join(' '.join(later).split())))
    return patches


def patches_page(tests, mutants):
    """The lines of the patches and the tests that fail without them."""
    left_out = collections.defaultdict(list)
    patches = read_series()
    place = {os.path.basename(patch.name): (number, patch.name)
             for number, patch in enumerate(patches)}
    for mutant in (mutant for mutant in mutants if mutant.file == '-'):
        found = [place[name] for name in map(os.path.basename, mutant.command.split())
                 if name in place]
        left_out[tuple(sorted(found))] += mutant.tests
    yield PATCHES_HEAD
    last = None
    for patch in patches:
        if patch.group != last:
            yield f'\n### {patch.group}\n'
        last = patch.group
        yield item(0, patch.subject)
        yield item(1, f'`{patch.name}`')
        if patch.later:
            yield item(1, patch.later)
    yield WITHOUT_HEAD
    for found, patterns in sorted(left_out.items()):
        yield item(0, ' and '.join(f'`{name}`' for _, name in found))
        yield from names(named(patterns, tests))


def read_page(name):
    """The current text of a page, '' if it does not exist."""
    try:
        with open(os.path.join(TOP, name), encoding='utf-8') as file:
            return file.read()
    except FileNotFoundError:
        return ''


def complaints(sections, tests, mutants, base):
    """Missing or misspelled names."""
    known = [key for promises in sections.values() for key in promises]
    for test, keys in tests.items():
        for key in keys:
            if key not in known:
                yield f'{test.program}: {test.name}: {PROMISES} has no promise "{key}"'
    for key in known:
        proofs = [test for test, keys in tests.items() if key in keys]
        if not proofs:
            yield f'{PROMISES}: no test says "Promise: {key}"'
        elif not any(named(mutant.tests, proofs) for mutant in mutants):
            yield f'{MUTANTS}: no mutant turns a test of the promise "{key}" red'
    observations = read_observations()
    patches = [patch.name for patch in read_series()]
    for mutant in mutants:
        for name in mutant.command.split() if mutant.file == '-' else []:
            if name not in patches:
                yield f'{MUTANTS}: {mutant.name}: the series has no patch {name}'
        for pattern in mutant.tests:
            if not named([pattern], [*tests, *observations]):
                yield f'{MUTANTS}: {mutant.name}: no test is called {pattern}'
    for pattern in base:
        programs = sorted({test.program for test in named([pattern], tests) if test.fixture})
        if len(programs) > 1:
            yield (f'{EXPECTED}: {pattern} names tests of {" and ".join(programs)}: '
                   'name the program')
    patterns = base + [pattern for mutant in mutants for pattern in mutant.tests]
    for test in tests:
        if not named(patterns, [test]):
            yield f'{test.program}: {test.name}: no kernel of {MUTANTS} breaks it'
    for key in {key for key in known if known.count(key) > 1}:
        yield f'{PROMISES}: "{key}" stands there more than once'


def main():
    """Write the pages, or check them."""
    if sys.argv[1:] not in ([], ['check']):
        print(__doc__, file=sys.stderr)
        sys.exit(USAGE)
    sections, tests, mutants = read_promises(), read_tests(), read_mutants()
    found = list(complaints(sections, tests, mutants, read_base()))
    pages = {PROMISES_PAGE: promises_page(sections, tests, mutants),
             PATCHES_PAGE: patches_page(tests, mutants)}
    for name, lines in pages.items():
        text = '\n'.join(lines).rstrip('\n') + '\n'
        if text == read_page(name):
            continue
        if sys.argv[1:]:
            found.append(f'{name} is old: run make promises')
        else:
            with open(os.path.join(TOP, name), 'w', encoding='utf-8') as file:
                file.write(text)
    print('\n'.join(found), end='\n' if found else '')
    sys.exit(1 if found else 0)


if __name__ == '__main__':
    main()
