#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# mutants.sh [NAME...]: run the KUnit suites on kernels that break a promise, one
# line each, and see that the cases which name that promise fail. The mutants are
# those of scripts/tests/mutants/kunit, all or the named ones, for ARCH.

ARCH=${ARCH:-um}
. "$(dirname "$0")/common.sh"

TABLE=$TOP/scripts/tests/mutants/kunit

# mutant_patch NAME FILE SED: write the patch of a mutant, print its path.
mutant_patch()
{
	local name=$1 file=$2 command=$3
	local dir=$O/mutants/$name

	rm -rf "$dir"
	mkdir -p "$dir/a/$(dirname "$file")" "$dir/b/$(dirname "$file")"
	cp "$WORK/patched/src/$file" "$dir/a/$file"
	sed -E "$command" "$dir/a/$file" >"$dir/b/$file"
	! cmp -s "$dir/a/$file" "$dir/b/$file" ||
		die "$EX_USAGE" "$TABLE: $name changes nothing in $file: mend its sed command"
	(cd "$dir" && diff -u "a/$file" "b/$file") >"$O/mutants/$name.patch" || :
	rm -rf "$dir"
	printf '%s\n' "$O/mutants/$name.patch"
}

# suites_of CASE...: the glob of suites that kunit.py is to run.
suites_of()
{
	local suites

	suites=$(printf '%s\n' "$@" | sed 's/:.*//' | sort -u)
	if [ "$(wc -l <<<"$suites")" = 1 ]; then
		printf 'fuse_wb_%s' "$suites"
	fi
}

# missed RESULTS CASE...: print the cases that did not fail. A case that failed an
# assertion and then took the kernel with it has no result, but its line in the log.
missed()
{
	python3 - "$@" <<'PY'
import fnmatch, json, re, sys
results, *cases = sys.argv[1:]
with open(f'{results}/results.json', encoding='utf-8') as file:
    status = {t['name']: t['status'] for t in json.load(file)['tests']}
with open(f'{results}/test.log', encoding='utf-8', errors='replace') as file:
    said = set(re.findall(r'# (\w+): (?:EXPECTATION|ASSERTION) FAILED', file.read()))
for case in cases:
    ended = fnmatch.filter(status, 'fuse_wb_' + case)
    if 'fail' not in map(status.get, ended) and (ended or not said & set(case.split(':'))):
        print(case)
print(list(status.values()).count('fail'), 'cases failed', file=sys.stderr)
PY
}

# run_mutant NAME SETTING CASE...
run_mutant()
{
	local name=$1 setting=$2 status=0 alive

	shift 2
	env "$setting" TESTS="$(suites_of "$@")" "$TOP/scripts/kunit.sh" \
		>"$O/mutants/$name.log" 2>&1 || status=$?
	case $status in
	0)	note "$name: every case passed"
		return 1
		;;
	"$EX_MACHINERY"|"$EX_USAGE")
		note "$name: was not run, see $O/mutants/$name.log"
		return 1
		;;
	esac
	alive=$(missed "$O/results/latest" "$@") || return 1
	[ -z "$alive" ] || note "$name: these did not fail:" "${alive//$'\n'/ }"
	[ -z "$alive" ]
}

check_variables
lock_build
"$TOP/scripts/deps.sh" source kernel judge
find_work
mkdir -p "$O/mutants"
"$TOP/scripts/kunit.sh" >"$O/mutants/none.log" 2>&1 ||
	die "$EX_FAIL" "the suites do not pass without a mutant, see $O/mutants/none.log"

# The patches first: while a mutant runs, its line stands in the source.
names=() settings=() cases=()
while IFS=$'\t' read -r name file command tests arch; do
	case $name in ''|'#'*) continue ;; esac
	[ "${arch:-$ARCH}" = "$ARCH" ] || continue
	if [ $# != 0 ] && [[ " $* " != *" $name "* ]]; then
		continue
	fi
	if [ "$file" = - ]; then
		setting=LEAVE_OUT=$command
	else
		setting=EXTRA_PATCHES=$(mutant_patch "$name" "$file" "$command")
	fi
	names+=("$name") settings+=("$setting") cases+=("$tests")
done <"$TABLE"
[ "${#names[@]}" != 0 ] || usage_error "no such mutant: $*, see $TABLE"

survived=()
for i in "${!names[@]}"; do
	note "[$((i + 1))/${#names[@]}] ${names[i]}"
	read -ra words <<<"${cases[i]}"
	run_mutant "${names[i]}" "${settings[i]}" "${words[@]}" || survived+=("${names[i]}")
done

[ "${#survived[@]}" = 0 ] || printf 'survived: %s\n' "${survived[@]}"
printf '%d passed, %d failed, 0 skipped\n' \
	"$((${#names[@]} - ${#survived[@]}))" "${#survived[@]}"
[ "${#survived[@]}" = 0 ]
