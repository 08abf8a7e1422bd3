#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""List the tests of installed kselftest programs, chosen by a glob.

Prints a line for each test: PROGRAM NAME, where NAME is FIXTURE[.VARIANT].TEST,
as the kselftest harness prints it and as its option -r takes it.
"""

import fnmatch
import subprocess
import sys


def die(message):
    """End with exit status 2 for wrong usage."""
    print(f'fuse_wb: {message}', file=sys.stderr)
    sys.exit(2)


def column(text, width):
    """Split a "%-<width>s " column off a line: (its word, the rest)."""
    word = '' if text[:1] in ('', ' ') else text.split(maxsplit=1)[0]
    return word, text[max(width, len(word)) + 1:]


def harness_names(listing):
    """The tests in the output of a program for -l.

    The output has a block for each fixture, with its variants and its tests in two
    columns; every variant runs every test.
    """
    names = []
    for block in listing.split('-' * 80 + '\n'):
        fixture, variants, tests = '', [], []
        for line in block.splitlines():
            if line.startswith('# FIXTURE'):
                continue
            word, rest = column(line, 20)
            fixture = fixture or word
            variant, test = column(rest, 25)
            variants += [variant] if variant else []
            tests += [test.strip()] if test.strip() else []
        for variant in variants or ['']:
            names += ['.'.join(filter(None, (fixture, variant, test))) for test in tests]
    return names


def named(program, name, globs):
    """Does a glob match this program, this test, or the last part of its name?"""
    last = name.rsplit('.', maxsplit=1)[-1]
    return any(fnmatch.fnmatchcase(text, glob)
               for glob in globs
               for text in (program, name, f'{program}:{name}', last))


def chosen(program, name, words):
    """Does TESTS select this test? A word that begins with ! excludes tests."""
    wanted = [word for word in words.split() if word[0] != '!']
    left_out = [word[1:] for word in words.split() if word[0] == '!']
    return (not wanted or named(program, name, wanted)) and not named(program, name, left_out)


def main():
    """list_tests.py DIR GLOB: DIR has the programs and GLOB may be empty."""
    folder, glob = sys.argv[1:3]
    count = 0
    with open(f'{folder}/kselftest-list.txt', encoding='utf-8') as file:
        entries = file.read().split()
    for entry in entries:
        collection, program = entry.split(':')
        listing = subprocess.run([f'{folder}/{collection}/{program}', '-l'],
                                 stderr=subprocess.PIPE, check=False, text=True).stderr
        names = harness_names(listing)
        if not names:
            die(f'{program} -l lists no tests')
        for name in names:
            if not glob or chosen(program, name, glob):
                print(program, name)
                count += 1
    if not count:
        die(f"TESTS='{glob}' matches no test: 'make kselftest' without TESTS shows their names")


if __name__ == '__main__':
    main()
