#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# lint.sh: check the style of everything in the repository. Continues after an error,
# so that one run shows all errors.

. "$(dirname "$0")/common.sh"

status=0

complain()
{
	note "$@"
	status=1
}

files()
{
	git -C "$TOP" ls-files --cached --others --exclude-standard -- "$@" |
		while IFS= read -r file; do
			[ ! -f "$TOP/$file" ] || printf '%s\n' "$file"
		done
}

# Check the files named on standard input, on all processors: this took three quarters
# of the time of lint. GIT_DIR hides this repository's git, which checkpatch would take
# for the kernel's.
checkpatch()
{
	GIT_DIR=$O/no-repository xargs -d '\n' -P "$(nproc)" -n 8 "$WORK/base/src/scripts/checkpatch.pl" \
		--root="$WORK/base/src" --strict --quiet --no-summary "$@"
}

check_c()
{
	files '*.c' '*.h' | checkpatch -f
}

# FILE_PATH_CHANGES asks for an entry in MAINTAINERS for each new file, but fs/fuse/ is there.
check_patches()
{
	{
		series_patches
		files 'scripts/um/*.patch'
	} | checkpatch --ignore FILE_PATH_CHANGES
}

check_spdx()
{
	files '*.c' '*.h' '*.sh' '*.py' '*.t' Makefile '*/Makefile' '*/Kconfig' .ci/run |
		while read -r file; do
			head -n 2 "$file" | grep -q 'SPDX-License-Identifier: GPL-2.0' ||
				printf '%s: no SPDX-License-Identifier in the first two lines\n' "$file"
		done
}

check_length()
{
	files '*.c' '*.h' '*.sh' '*.py' '*.t' | while read -r file; do
		[ "$(wc -l <"$file")" -le 500 ] || printf '%s: more than 500 lines\n' "$file"
	done
}

check_python()
{
	files '*.py' | while read -r file; do
		python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read(), sys.argv[1])' "$file" 2>&1 | tail -n 1
	done
}

check_spelling()
{
	files | grep -v -e '^COPYING$' -e '\.patch$' -e '/logs/' | tr '\n' '\0' | xargs -0 codespell
	# Of a patch, check only the lines that it adds.
	files '*.patch' | while read -r file; do
		grep -v -e '^[- @]' "$file" | codespell - | sed "s#^#$file: #"
	done
}

check_kernel_doc()
{
	files "$SELFTEST/*.h" | tr '\n' '\0' |
		xargs -0 "$WORK/base/src/scripts/kernel-doc" -none -Werror 2>&1
}

# Build the pages with the kernel's make htmldocs, in the patched tree. Without dot(1)
# it warns at each run, which is not an error of a page.
check_sphinx()
{
	local dir log=$O/logs/htmldocs.log

	for dir in $(series_overlays | sed -n 's#^Documentation/##p'); do
		if ! make -C "$WORK/patched/src" O="$O/htmldocs" SPHINXDIRS="$dir" SPHINXOPTS=-q \
			htmldocs >"$log" 2>&1; then
			tail -n 5 "$log"
		fi
		grep -E '(WARNING|ERROR|SEVERE|CRITICAL):' "$log" | grep -v 'dot(1) not found' || :
	done
}

check_readmes()
{
	files '*/README.rst' | while read -r file; do
		python3 -m docutils --report=info --halt=none --writer=null "$file" 2>&1
	done
}

# Each check prints what it finds, and nothing if there are no errors.
run()
{
	local title=$1 found

	shift
	found=$("$@" 2>&1) || [ -n "$found" ] || found="$* failed"
	[ -z "$found" ] || complain "$title:"$'\n'"$found"
}

find_work
cd "$TOP"
run shellcheck shellcheck scripts/*.sh
run "checkpatch --strict, C files" check_c
run "checkpatch --strict, patches" check_patches
run "license" check_spdx
run "length" check_length
run "python" check_python
run "spelling" check_spelling
run "kernel-doc" check_kernel_doc
run "documents" scripts/documents.py . "$WORK/patched/src"
run "README.rst" check_readmes
run "pages of the kernel" check_sphinx
run "promises" scripts/promises.py check
run "waits for a server" scripts/waits.py "$WORK/patched/src" \
	Documentation/filesystems/fuse-waits/places
run "habits of tests" scripts/habits.py scripts/habits.allowed "$SELFTEST" "$SELFTEST/lib" lib/kunit-fuse
run "mutants" scripts/mutants.sh --check
exit "$status"
