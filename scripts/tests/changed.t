#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# changed.sh: which sources are compiled, and that the others are still checked.

. "$(dirname "$0")/tap.sh"

cd "$SCRATCH" || exit
mkdir -p src/fs/fuse src/arch/x86 bin
echo 'int answer(int question);' >src/shared.h
printf '%s\n' '#include "../../shared.h"' 'int answer(int question) { int unused; return question; }' \
	>src/fs/fuse/file.c
cp src/fs/fuse/file.c src/arch/x86/file.c
printf '#!/bin/sh\necho checked\n' >bin/sparse
chmod +x bin/sparse
PATH=$SCRATCH/bin:$PATH

# compile CHANGED SOURCE [ARGUMENT...]: as the kernel's make does.
compile()
{
	local source=$SCRATCH/src/$2 changed=$1

	shift 2
	rm -f out.o out.d
	CHANGED=$changed "$SCRIPTS/changed.sh" gcc -Wall -Wp,-MMD,out.d -c "$@" -o out.o "$source" 2>err
}

symbols()
{
	nm out.o 2>&1 | sed -n 's/.* T //p'
}

compile mm/vmscan.c fs/fuse/file.c
is $? 0 "a source that did not change: exit status"
is "$(symbols)" "" "it is not compiled to its end"
says err "unused variable" "but warns"
says out.d '/src/fs/fuse/../../shared.h' "make knows what it includes"

compile "mm/vmscan.c fs/fuse/file.c" fs/fuse/file.c
is $? 0 "a source that changed: exit status"
is "$(symbols)" answer "it is compiled"
compile "" fs/fuse/file.c
is "$(symbols)" answer "if nothing is named, each source is compiled"
compile mm/vmscan.c arch/x86/file.c
is "$(symbols)" answer "so are sources in folders that the series does not change"
compile mm/vmscan.c fs/fuse/file.c -D'answer=+'
status=$?
[ "$status" != 0 ] && [ ! -s out.o ]
ok $? "an error in what a source includes is an error"
rm -f out.s
CHANGED=mm/vmscan.c "$SCRIPTS/changed.sh" gcc -S -o out.s "$SCRATCH/src/fs/fuse/file.c"
says out.s '^answer:' "assembly is what it was"

is "$(CHANGED=mm/vmscan.c "$SCRIPTS/changed.sh" sparse "$SCRATCH/src/fs/fuse/file.c")" "" "sparse does not check what did not change"
is "$(CHANGED=fs/fuse/file.c "$SCRIPTS/changed.sh" sparse "$SCRATCH/src/fs/fuse/file.c")" checked "but what did"
end_tests
