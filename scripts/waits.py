#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Compare the places where a kernel may wait for a FUSE server with their list.

waits.py TREE LIST              compare, and check the tables in the folder of LIST
waits.py --write TREE LIST      write LIST

TREE is a kernel source tree. LIST has one place per line, sorted: the file, the
function and its callee, separated by tabs. A place is a call, in one of
FILES, of a function of WAITS: it waits for writeback, a folio lock, I_SYNC, s_umount,
fc->killsb or a request. Prints each place that LIST lacks, each place of LIST that
TREE lacks, and each function that is named in the first column of a table of the
*.rst files in the folder of LIST but is not in TREE.

Exit status: 0 if there is nothing to print, 1 if there is, 2 for wrong usage.

Left out, to keep LIST short enough for review:

- mmap_lock and invalidate_lock: hundreds of calls, almost none of which can contend
  with a task that waits for a server. The tables name those that can.
- the inode lock, requests and wait_event(), except in fs/fuse and, for the inode
  lock, directories that are mounted on: elsewhere the caller of a system call takes
  that lock, and waits for another caller on the same file.
- files whose folios are never those of a FUSE file, see LEFT_OUT. index.rst gives
  the reason for each.
- drivers and file systems other than FUSE and overlayfs. Those that matter, such as
  quota or workers that dirty user pages, are in the tables.
- headers: an inline function that waits is a name in WAITS instead.
"""

import fnmatch
import glob
import os
import re
import sys

USAGE = 2

FILES = (
    'block/bdev.c', 'block/bio.c', 'fs/*.c', 'fs/fuse/*.c', 'fs/overlayfs/*.c', 'kernel/events/*.c',
    'kernel/power/*.c', 'mm/*.c')

LEFT_OUT = (
    'fs/aio.c', 'fs/binfmt_*.c', 'fs/buffer.c', 'fs/dax.c', 'fs/direct-io.c', 'fs/exec.c',
    'fs/libfs.c', 'fs/mpage.c', 'fs/pipe.c', 'fs/remap_range.c', 'fs/fuse/cuse.c', 'fs/fuse/dax.c',
    'fs/fuse/passthrough.c', 'fs/fuse/readdir.c', 'mm/folio-compat.c', 'mm/gup_test.c', 'mm/hmm.c',
    'mm/huge_memory.c', 'mm/hugetlb.c', 'mm/ksm.c', 'mm/memremap.c', 'mm/migrate_device.c',
    'mm/secretmem.c', 'mm/shmem.c', 'mm/swap_state.c', 'mm/userfaultfd.c', 'mm/z3fold.c',
    'mm/zsmalloc.c')

# (files, functions)
WAITS = (
    # Writeback, directly or in truncation and invalidation
    ('*', r'''folio_wait_writeback(_killable)? wait_on_page_writeback folio_wait_stable
        _*filemap_fdatawait\w* file_fdatawait_range filemap_write_and_wait\w*
        file_write_and_wait_range\w* kiocb_write_and_wait kiocb_invalidate_\w+
        filemap_invalidate_(pages|inode) invalidate_inode_pages2(_range)? folio_launder
        truncate_inode_pages\w* truncate_inode_partial_folio truncate_pagecache\w*
        truncate_setsize inode_drain_writes wait_sb_inodes reclaim_throttle'''),
    # The lock of a folio
    ('*', r'''_*folio_lock(_killable|_or_retry|_async)? lock_page(_killable)?
        lock_folio_maybe_drop_mmap folio_put_wait_locked folio_wait_locked(_killable)?
        wait_on_page_locked set_page_dirty_lock unpin_user_pages_dirty_lock
        filemap_lock_folio filemap_grab_folio find_lock_page find_or_create_page
        grab_cache_page\w* pagecache_get_page __filemap_get_folio read_cache_(folio|page)\w*
        read_mapping_(folio|page) mapping_read_folio_gfp migrate_pages'''),
    # I_SYNC, and an inode that is freed
    ('*', r'''_*inode_wait_for_writeback inode_sleep_on_writeback write_inode_now\w*
        sync_inode_metadata\w* writeback_single_inode __wait_on_freeing_inode'''),
    # s_umount, and the flushers
    ('*', r'''_*super_lock(_excl|_shared)? _*iterate_supers\w* user_get_super grab_super
        deactivate_super sync_filesystem sync_inodes_sb writeback_inodes_sb\w*
        wb_wait_for_completion freeze_super sync_bdevs start_sync_wait ksys_sync_helper'''),
    # Inode locks, requests and other waits of FUSE
    ('fs/namespace.c', 'inode_lock(_killable)?'),
    ('fs/fuse/*', r'''inode_lock(_shared)?(_killable)?(_nested)? fuse_simple_(request|idmap_request)
        _*wait_var_event\w* wait_event\w* wait_for_completion\w*'''))

LOCKS = re.compile(r'\b((?:down_read|down_write|mutex_lock)(?:_killable)?)\(&(?:'
                   r'[\w>.-]+->(?:s_umount|killsb|i_rwsem)|(?:get_fuse_inode\(\w+\)|fi)->mutex)\)')
ATTRIBUTES = r'__(?:acquires|attribute__|must_hold|printf|releases|scanf)'
FUNCTION = re.compile(r'^([A-Za-z_][^;{}#]*?)\n\{\n(.*?)^\}', re.MULTILINE | re.DOTALL)
NAME = re.compile(rf'(?!{ATTRIBUTES}\b)\b(\w+)\s*\(\s*(\w*)')
DEFINED = re.compile(r'^(?:#\s*define\s+)?(?:[A-Za-z_][\w \t*]*?[ \t*])?(\w+)\(', re.MULTILINE)


def usage(message):
    """Complain, and exit."""
    print(f'waits.py: {message}', file=sys.stderr)
    sys.exit(USAGE)


def read_code(path):
    """A source file without comments and without the text of strings."""
    with open(path, encoding='utf-8', errors='replace') as file:
        text = re.sub(r'/\*.*?\*/', '', file.read(), flags=re.DOTALL)
    return re.sub(r'"(?:\\.|[^"\\\n])*"', '""', re.sub(r'//[^\n]*', '', text))


def functions_of(text):
    """The functions defined in a source file: (name, body)."""
    for head, body in FUNCTION.findall(text):
        name = NAME.search(head)
        if name:
            syscall = re.match(r'(?:COMPAT_)?SYSCALL_DEFINE', name.group(1))
            yield 'sys_' + name.group(2) if syscall else name.group(1), body


def find_places(tree):
    """The places in a tree: {(file, function, callee)}."""
    places = set()
    paths = {path for pattern in FILES for path in glob.glob(f'{tree}/{pattern}')}
    if not paths:
        usage(f'{tree} is no kernel source tree')
    for path in paths:
        file = os.path.relpath(path, tree)
        if any(fnmatch.fnmatch(file, pattern) for pattern in LEFT_OUT):
            continue
        names = '|'.join(name for pattern, names in WAITS if fnmatch.fnmatch(file, pattern)
                         for name in names.split())
        call = re.compile(rf'(?<![\w>.])((?:{names}))\s*\(')
        for function, body in functions_of(read_code(path)):
            found = [match.group(1) for match in call.finditer(body)] + LOCKS.findall(body)
            places |= {(file, function, callee) for callee in found if callee != function}
    return places


def read_list(path):
    """The places of a list."""
    try:
        with open(path, encoding='utf-8') as file:
            lines = [tuple(line.rstrip('\n').split('\t')) for line in file if line[0] != '#']
    except OSError as error:
        usage(f'cannot read {path}: {error.strerror}')
    wrong = [line for line in lines if len(line) != 3]
    if wrong:
        usage(f'{path}: want FILE, FUNCTION and CALLEE with tabs between: {" ".join(wrong[0])}')
    return set(lines)


def functions_in_tables(path):
    """The functions in the first column of the tables of a document."""
    with open(path, encoding='utf-8') as file:
        rows = re.findall(r'^ +\* - (.*?)(?=^ +- |\Z)', file.read(), re.MULTILINE | re.DOTALL)
    return {name for row in rows for name in re.findall(r'(\w+)\(\)', row)}


def check_tables(tree, folder):
    """The functions that the tables name and the tree lacks, as lines to print."""
    named = {path: functions_in_tables(path) for path in sorted(glob.glob(f'{folder}/*.rst'))}
    missing = set().union(*named.values())
    for part in ('mm', 'fs', 'block', 'io_uring', 'kernel', 'include/linux', 'lib'):
        for path in glob.iglob(f'{tree}/{part}/**/*.[ch]', recursive=True):
            if not missing:
                return
            with open(path, encoding='utf-8', errors='replace') as file:
                missing -= set(DEFINED.findall(file.read()))
    for path, names in named.items():
        for name in sorted(names & missing):
            yield f'{os.path.join(os.path.basename(folder), os.path.basename(path))}: ' \
                  f'{name}() is not in TREE'


def main(args):
    """Compare, or write LIST."""
    write = args[:1] == ['--write']
    if len(args) != 2 + write:
        usage('want: waits.py [--write] TREE LIST')
    tree, path = args[write:]
    if not os.path.isdir(tree):
        usage(f'{tree} is no directory')
    folder = os.path.dirname(os.path.abspath(path))
    places = find_places(tree)
    if write:
        try:
            with open(path, 'w', encoding='utf-8') as file:
                file.writelines('\t'.join(place) + '\n' for place in sorted(places))
        except OSError as error:
            usage(f'cannot write {path}: {error.strerror}')
        return 0
    listed = read_list(path)
    document = 'Documentation/filesystems/fuse-waits'
    found = [f'{file}: {function}() calls {callee}(): not in LIST, say in {document} who waits there'
             for file, function, callee in sorted(places - listed)]
    found += [f'{file}: {function}() calls {callee}(): in LIST, but not in TREE any more'
              for file, function, callee in sorted(listed - places)]
    found += check_tables(tree, folder)
    print(*found, sep='\n', end='\n' if found else '')
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
