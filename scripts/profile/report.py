#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Which functions execute how many instructions for a page, on each kernel."""

import argparse
import bisect
import collections
import subprocess

USER = 1 << 47
# Where bytes are copied. Some move eight with an instruction, some 32, and
# memcpy_orig() needs three times as many as the others.
COPIES = ('copy_page', 'memcpy_orig', 'rep_movs_alternative', 'user: __mem')


class Symbols:
    """The functions of a program, by address."""

    def __init__(self, path):
        found = []
        nm = subprocess.run(['nm', '-n', path], check=True, text=True, capture_output=True)
        for line in nm.stdout.splitlines():
            address, kind, name = line.split(maxsplit=2) if line[0] != ' ' else (0, '', '')
            if kind in ('t', 'T', 'w', 'W', 'i'):
                found.append((int(address, 16), name.split('.')[0]))
        self.addresses = [a for a, _ in found]
        self.names = [n for _, n in found]

    def name(self, address):
        """The function that an address is in."""
        place = bisect.bisect_right(self.addresses, address)
        return self.names[place - 1] if place else '?'


def read_counts(path, kernel, program):
    """Instructions for each function."""
    counts = collections.Counter()
    with open(path, encoding='utf-8') as file:
        for line in file:
            address, count = line.split()
            address = int(address, 16)
            if address < USER:
                counts[f'user: {program.name(address)}'] += int(count)
            else:
                counts[kernel.name(address)] += int(count)
    return counts


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('raw', help='what the benchmark printed')
    parser.add_argument('program', help='the user program')
    parser.add_argument('kernels', nargs='+', metavar='NAME=VMLINUX=COUNTS')
    parser.add_argument('--least', type=float, default=10,
                        help='leave out functions of fewer instructions a page')
    args = parser.parse_args()
    program = Symbols(args.program)
    with open(args.raw, encoding='utf-8') as file:
        first = dict(word.split('=', 1) for word in file.readline().split())
    pages = int(first['size']) / 4096
    table = {}
    for word in args.kernels:
        name, vmlinux, counts = word.split('=', 2)
        table[name] = read_counts(counts, Symbols(vmlinux), program)
    functions = set().union(*table.values())
    print(f'{first["case"] + ": instructions a page":44}' + ''.join(f'{name:>10}' for name in table))
    print(f'{"all functions":44}' +
          ''.join(f'{sum(c.values()) / pages:>10.1f}' for c in table.values()))
    copies = [f for f in functions if f.startswith(COPIES)]
    print(f'{"all but copies":44}' +
          ''.join(f'{(sum(c.values()) - sum(c[f] for f in copies)) / pages:>10.1f}'
                  for c in table.values()))
    for function in sorted(functions, key=lambda f: -max(c[f] for c in table.values())):
        row = [c[function] / pages for c in table.values()]
        if max(row) >= args.least:
            print(f'{function:44}' + ''.join(f'{value:>10.1f}' for value in row))


if __name__ == '__main__':
    main()
