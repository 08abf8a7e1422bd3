#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Find errors in the documents of this repository.

documents.py TOP [TREE]

TOP is the repository, TREE a kernel source tree with the series. The documents are all
*.md and *.rst files of TOP. Prints each

- line of more than 100 columns, and a README.md of more than 200 lines
- "make TARGET" and VARIABLE= that the Makefile does not have, and TESTS= and MUTANTS=
  that match nothing
- script, file or folder that does not exist, in a command, between backquotes or as the
  target of a link
- test, program or suite that does not exist: a word with a _ between backquotes has to
  occur in a file that is not a document, NAME of FILE_test:NAME in that file

Names that begin with "my" are examples. Without TREE, the kernel's files are not looked
up. Exit status: 0 if nothing was found, 1 if something was, 2 for wrong usage.
"""

import fnmatch
import glob
import os
import re
import shlex
import subprocess
import sys

COLUMNS = 100
README_LINES = 200
USAGE = 2
SELFTEST = 'tools/testing/selftests/fuse_wb'
# Created only by a run, or by a user
MADE = re.compile(r'build(/|$)|~|/|\.\./|.*[<>$]|(\./)?my')
FILE_NAME = re.compile(r'[\w.+-]+\.(?:c|h|md|rst|py|sh|t|json|log|txt|xml|svg|patch|pm)$')
PATH = re.compile(r'\.?[\w.+*-]+(?:/[\w.+*{},-]+)+/?$')
LINK = re.compile(r'\]\(([^)#:]+)(?:#[^)]*)?\)')
TEST_IN_FILE = re.compile(r'\b(\w+_(?:test|kunit)):([\w.]+)')


class Repository:
    """The names that the documents may use."""

    def __init__(self, top, tree):
        self.top, self.tree = top, tree
        listed = subprocess.run(
            ['git', '-C', top, 'ls-files', '--cached', '--others', '--exclude-standard'],
            check=True, capture_output=True, text=True).stdout.split('\n')
        files = [name for name in listed if os.path.isfile(os.path.join(top, name))]
        self.documents = [name for name in files if name.endswith(('.md', '.rst'))]
        self.text = {name: self.read(name) for name in files}
        self.words = {word for name, text in self.text.items() if name not in self.documents
                      for word in re.findall(r'[\w-]+|\w+', text)}
        self.words |= {part for word in self.words for part in word.split('-')}
        self.base_names = {os.path.basename(name) for name in files}
        self.words |= {os.path.splitext(name)[0] for name in self.base_names}
        makefile = self.text['Makefile']
        self.targets = set(re.findall(r'^([a-z]+):', makefile, re.MULTILINE))
        listed = re.findall(r'^#   \S.*', makefile, re.MULTILINE)
        self.variables = set(re.findall(r'\b([A-Z_]+)=', '\n'.join(listed)) +
                             re.findall(r'\$\$([A-Z_]+)', makefile))
        # Environment variables of tests
        self.variables |= {variable for name, text in self.text.items() if name.endswith('.c')
                           for variable in re.findall(r'"(FUSE_WB_[A-Z_]+)"', text)}

    def read(self, name):
        """Return the text of a file."""
        with open(os.path.join(self.top, name), encoding='utf-8', errors='replace') as file:
            return file.read()

    def has_file(self, path, folder):
        """Does a file or folder exist, or match a glob?"""
        if MADE.match(path):
            return True
        places = [self.top, os.path.join(self.top, folder)] + [self.tree] * bool(self.tree)
        return any(glob.glob(os.path.join(place, variant))
                   for place in places for variant in braces(path))

    def has_name(self, name):
        """Does a file of this name exist, or does a script create one?"""
        return name in self.base_names or any(
            name in text for path, text in self.text.items() if path not in self.documents)

    def names_test(self, pattern):
        """Does a glob of TESTS= or MUTANTS= match something?"""
        words = re.split('[:.]', pattern.lstrip('!'))
        return all(word.startswith('my') or fnmatch.filter(self.words, word) for word in words)


def braces(path):
    """Expand {a,b} in a path, as a shell does."""
    found = re.match(r'(.*)\{(.*)\}(.*)', path)
    return [found[1] + word + found[3] for word in found[2].split(',')] if found else [path]


def commands(name, text):
    """Command lines, and the text between backquotes."""
    in_block = name.endswith('.md')
    for line in text.split('\n'):
        if name.endswith('.rst') and line and not line[0].isspace():
            in_block = line.endswith('::')
        if in_block and re.match(r'\t|    ', line):
            yield line.strip()
    for span in re.findall(r'`+([^`]+)`+', re.sub(r'\n\s*', ' ', text)):
        yield span


def check_make(repo, words, folder):
    """Complaints about the words after "make"."""
    if words[:1] == ['-C']:
        for word in words[2:]:
            name, _, value = word.partition('=')
            if name == 'TARGETS' and not repo.has_file(f'{words[1]}/{value}', folder):
                yield f'{words[1]} has no {value}'
        return
    for word in words:
        name, is_variable, value = word.partition('=')
        if not is_variable:
            if re.fullmatch('[a-z]+', word) and word not in repo.targets:
                yield f'the Makefile has no target {word}'
        elif name not in repo.variables:
            yield f'the Makefile has no variable {name}'
        elif name in ('TESTS', 'MUTANTS'):
            for pattern in value.split():
                if not repo.names_test(pattern):
                    yield f'{name}={pattern} names nothing'
        elif name == 'LEAVE_OUT':
            for path in value.split():
                if '/' in path and not repo.has_file(path, folder):
                    yield f'there is no patch {path}'


def check_program(repo, program, folder):
    """Complaints about a script or program that is called."""
    path = program[2:] if program.startswith('./') else program
    if repo.has_file(f'{path}.c', folder) or MADE.match(program):
        return
    places = [repo.top, os.path.join(repo.top, folder), repo.tree]
    found = [place for place in places if place and os.path.exists(os.path.join(place, path))]
    if not found and (repo.tree or path.startswith('scripts/')):
        yield f'there is no {program}'
    elif found and not os.access(os.path.join(found[0], path), os.X_OK):
        yield f'{program} cannot be run'


def check_command(repo, command, folder):
    """Complaints about a line of shell, or one word."""
    try:
        words = shlex.split(command, comments=True)
    except ValueError:
        return
    while words and re.match(r'[A-Z_]+=', words[0]) and len(words) > 1:
        words = words[1:]
    if not words:
        return
    if words[0] == 'make' and len(words) > 1:
        yield from check_make(repo, words[1:], folder)
    elif len(words) > 1 and re.match(r'(?:\./|scripts/)[\w./-]+$', words[0]):
        yield from check_program(repo, words[0], folder)
    elif len(words) == 1:
        yield from check_word(repo, words[0], folder)


def check_word(repo, word, folder):
    """Complaints about a single word between backquotes."""
    if re.fullmatch(r'[A-Z_]+=', word):
        if word[:-1] not in repo.variables:
            yield f'there is no variable {word}'
    elif FILE_NAME.match(word):
        if not repo.has_name(word) and not repo.has_file(word, folder):
            yield f'there is no file {word}'
    elif PATH.match(word):
        if not repo.has_file(word, folder) and \
                (repo.tree or os.path.exists(os.path.join(repo.top, word.split('/')[0]))):
            yield f'there is no {word}'
    elif re.fullmatch(r'[a-z0-9]+(_[a-z0-9]+)+', word):
        if not word.startswith('my_') and word not in repo.words:
            yield f'there is no {word} but in documents'


def check_names(repo, text, folder):
    """Complaints about links, pages and tests of a file."""
    for path in LINK.findall(text):
        if not os.path.exists(os.path.join(repo.top, folder, path)):
            yield f'there is no {path} to link to'
    for path in re.findall(r'(?<![\w/])Documentation/[\w/-]+\.rst', text):
        if not repo.has_file(path, '') and (repo.tree or '/fuse-' in os.path.dirname(path)):
            yield f'there is no {path}'
    for program, test in TEST_IN_FILE.findall(text):
        paths = [f'{SELFTEST}/{program}.c', f'lib/kunit-fuse/{program}.c']
        found = [repo.text[path] for path in paths if path in repo.text]
        name = test.rstrip('.').split('.')[-1]
        if not found or not re.search(rf'\b{name}\b', found[0]):
            yield f'there is no test {program}:{test}'


def check_length(name, text):
    """Complaints about lines that are too long, or too many lines."""
    lines = text.rstrip('\n').split('\n')
    if name == 'README.md' and len(lines) > README_LINES:
        yield f'{len(lines)} lines: want at most {README_LINES}'
    for number, line in enumerate(lines, 1):
        if len(line.expandtabs()) > COLUMNS:
            yield f'line {number} has more than {COLUMNS} columns'


def check(repo, name):
    """All complaints about a document."""
    text, folder = repo.text[name], os.path.dirname(name)
    yield from check_length(name, text)
    for command in commands(name, text):
        yield from check_command(repo, command, folder)
    yield from check_names(repo, text, folder)


def main(args):
    """Check all documents."""
    if len(args) not in (1, 2) or not os.path.isfile(os.path.join(args[0], 'Makefile')) or \
            not all(os.path.isdir(arg) for arg in args):
        print('documents.py: want: documents.py TOP [TREE], directories, the first with a '
              'Makefile', file=sys.stderr)
        return USAGE
    repo = Repository(args[0], args[1] if len(args) == 2 else '')
    found = [f'{name}: {what}' for name in repo.documents
             for what in dict.fromkeys(check(repo, name))]
    print(*found, sep='\n', end='\n' if found else '')
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
