#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Turn the raw lines of a benchmark into a table, results.json and a chart."""

import argparse
import json
import os
import statistics
import subprocess
import sys

PAGE = 4096
LEAST_CHANGE = 0.02
# So much faster than base the patched kernel has to be, in the same run.
LEAST_RATIO = {'read-1m': 6}
MEASURED = ('round', 'kernel', 'case', 'work', 'sync', 'writes')


def read_lines(path):
    """A dictionary of each line of KEY=VALUE."""
    with open(path, encoding='utf-8') as file:
        return [dict(word.split('=', 1) for word in line.split()) for line in file]


def spread(values):
    """Half the distance of the extremes, as a part of the median."""
    return (max(values) - min(values)) / 2 / statistics.median(values)


def unit_of(line):
    """What figures are in, and how many bytes are behind each."""
    if int(line['delay']):
        return 'Nanoseconds', 'a call', int(line['block'])
    what = 'Instructions' if line['unit'] == 'ticks' else 'Nanoseconds'
    return what, 'a page of 4 KiB', PAGE


def by_round(lines, value):
    """The median of each round."""
    rounds = {}
    for line in lines:
        rounds.setdefault(line['round'], []).append(value(line))
    return [statistics.median(values) for values in rounds.values()]


def summary(lines):
    """Median and spread of what was measured alike, a page or a call each."""
    share = unit_of(lines[0])[2]
    parts = int(lines[0]['size']) / share
    if lines[0]['workload'] in ('two', 'mixed'):
        parts *= 2
    work = by_round(lines, lambda line: int(line['work']) / parts)
    sync = by_round(lines, lambda line: int(line['sync']) / parts)
    total = by_round(lines, lambda line: (int(line['work']) + int(line['sync'])) / parts)
    return {
        'each': round(statistics.median(total), 1),
        'work': round(statistics.median(work), 1),
        'sync': round(statistics.median(sync), 1),
        'spread': round(spread(total), 5),
        'writes': statistics.median(int(line.get('writes', 0)) for line in lines),
        'rounds': len(total),
        'mb_per_s': round(share * 1000 / statistics.median(total), 1),
        'settings': {k: v for k, v in lines[0].items() if k not in MEASURED},
    }


def collect(lines):
    """The cases in the order of the first round: for each kernel the figure
    and its two bounds."""
    cases = {}
    for line in lines:
        kernels = cases.setdefault(line['case'], {})
        what = 'fuse'
        if line['target'] == 'dir':
            what = 'tmpfs' if line['copies'] == '0' else 'tmpfs_and_copies'
        kernels.setdefault(line['kernel'], {}).setdefault(what, []).append(line)
    for kernels in cases.values():
        for kernel, figures in kernels.items():
            kernels[kernel] = {what: summary(found) for what, found in figures.items()}
    return cases


def judge(cases, path):
    """Does a case take more than it used to? Returns how many do."""
    slower = 0
    with open(path, encoding='utf-8') as file:
        figures = dict(line.split() for line in file if line.strip() and line[0] != '#')
    for name, figure in figures.items():
        (kernel,) = cases[name].values()
        now, before = kernel['fuse']['each'], float(figure)
        change = now / before - 1
        print(f'{name}: {now:.0f} instructions a page, {change:+.1%} of {before:.0f}')
        if change > LEAST_CHANGE:
            slower += 1
            print(f'fuse_wb: {name} takes more instructions than {path} allows: '
                  'see what does with make bench METER=profile')
        elif change < -LEAST_CHANGE:
            print(f'fuse_wb: {name} got faster: write that into {path}')
    return slower


def ratio_of(by_kernel):
    """How many times as fast as the first kernel the last one is."""
    figures = [kernel['fuse']['each'] for kernel in by_kernel.values()]
    return figures[0] / figures[-1]


def judge_ratios(cases):
    """Is it as much faster than base as it has to be? Returns how many are not."""
    slow = 0
    for name, least in LEAST_RATIO.items():
        if name in cases and len(cases[name]) > 1 and ratio_of(cases[name]) < least:
            slow += 1
            print(f'fuse_wb: {name} is not {least} times as fast as on base')
    return slow


def print_table(cases, unit):
    """For people."""
    kernels = list(next(iter(cases.values())))
    print(f'{unit}; in brackets the spread; and WRITE requests')
    print(f'{"":24}' + ''.join(f'{k:>18}' for k in kernels) + f'{"ratio":>8}'
          f'{"tmpfs":>8}{"+copies":>9}{"WRITEs":>9}')
    for name, by_kernel in cases.items():
        row = f'{name:24}'
        for kernel in kernels:
            fuse = by_kernel[kernel]['fuse']
            row += f'{fuse["each"]:>10.0f} ({fuse["spread"]:5.1%})'
        last = by_kernel[kernels[-1]]
        row += f'{ratio_of(by_kernel):>8.3f}' if len(kernels) > 1 else f'{"":>8}'
        for bound, width in ('tmpfs', 8), ('tmpfs_and_copies', 9):
            row += f'{last[bound]["each"]:>{width}.0f}' if bound in last else f'{"":>{width}}'
        row += f'{last["fuse"]["writes"]:>9.0f}'
        print(row)


CHART = r'''
set terminal svg size 900,{height} font "sans-serif,11" background "white"
set output "{out}"
set title "{title}"
set style data histograms
set style histogram rowstacked
set style fill solid 0.9 border -1
set key outside bottom center horizontal
set grid xtics
set datafile missing "?"
set boxwidth 0.8 absolute
set yrange [-0.7:{rows}-0.3] reverse
set xrange [0:*]
set xlabel "{unit}, less is better"
$d << EOD
{data}
EOD
set ytics ({labels})
plot $d using ($2/2):($1-0.2):($2/2):(0.18) with boxxyerror lc rgb "#b0b0b0" title "{first}", \
     $d using ($3/2):($1+0.2):($3/2):(0.18) with boxxyerror lc rgb "#3070b0" title "{second}", \
     $d using 4:1:(0.4) with yerrorbars pt 0 lw 2 lc rgb "#d04020" title "tmpfs and the copies that the protocol needs"
'''


def write_chart(cases, unit, results):
    """A bar for each kernel and a mark for the bound."""
    kernels = list(next(iter(cases.values())))
    if len(kernels) != 2:
        return
    data, labels = [], []
    for row, (name, by_kernel) in enumerate(cases.items()):
        first, second = (by_kernel[k]['fuse']['each'] for k in kernels)
        bound = by_kernel[kernels[1]].get('tmpfs_and_copies', {}).get('each', '?')
        data.append(f'{row} {first} {second} {bound}')
        labels.append(f'"{name}" {row}')
    script = CHART.format(height=140 + 34 * len(data), out=os.path.join(results, 'chart.svg'),
                          title='Writes through FUSE', rows=len(data), unit=unit,
                          data='\n'.join(data), labels=', '.join(labels),
                          first=kernels[0], second=kernels[1])
    subprocess.run(['gnuplot'], input=script, text=True, check=True)


def main():
    """Report one results folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('results', help='folder with raw.txt')
    parser.add_argument('--setting', action='append', default=[], metavar='NAME=VALUE')
    parser.add_argument('--figures', help='file of what each case may take; no table')
    args = parser.parse_args()
    lines = read_lines(os.path.join(args.results, 'raw.txt'))
    if not lines:
        sys.exit('report.py: nothing was measured')
    unit = ' '.join(unit_of(lines[0])[:2])
    cases = collect(lines)
    with open(os.path.join(args.results, 'results.json'), 'w', encoding='utf-8') as file:
        json.dump({'settings': dict(s.split('=', 1) for s in args.setting),
                   'unit': unit, 'cases': cases}, file, indent=1)
        file.write('\n')
    if args.figures:
        sys.exit(judge(cases, args.figures) > 0)
    print_table(cases, unit)
    if not int(lines[0]['delay']):
        write_chart(cases, unit, args.results)
    sys.exit(judge_ratios(cases) > 0)


if __name__ == '__main__':
    main()
