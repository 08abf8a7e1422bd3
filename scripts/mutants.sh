#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# mutants.sh [TABLE|NAME...]: run the tests on mutants, kernels that break a promise
# by one changed line each, and check that the listed tests fail. The mutants are
# those of the tables in scripts/tests/mutants: all, or the named ones. A line is
#
#	NAME FILE SED-COMMAND TESTS [ARCH]
#
# separated by tabs. If FILE is -, the patches named in place of the sed command are
# left out. The table kunit has KUnit cases, SUITE:CASE[:VARIANT] without fuse_wb_,
# for UML; the others have kselftests, PROGRAM:FIXTURE[.VARIANT].TEST, for x86_64, or
# all of TESTS are observations of make regress, regress:AREA.NAME, for UML. Each may
# have * and ? as in a shell: at least one of the matching tests has to fail.
#
# mutants.sh --check: only check that each line still changes something.

WANTED_ARCH=${ARCH:-}
. "$(dirname "$0")/common.sh"

TABLES=$TOP/scripts/tests/mutants

# mutant_patch NAME FILE SED: write the patch of a mutant, print its path.
mutant_patch()
{
	local name=$1 file=$2 command=$3
	local dir=$O/mutants/$name

	[ -e "$WORK/patched/src/$file" ] ||
		die "$EX_USAGE" "$TABLES: $name: there is no file $file"
	rm -rf "$dir"
	mkdir -p "$dir/a/$(dirname "$file")" "$dir/b/$(dirname "$file")"
	cp "$WORK/patched/src/$file" "$dir/a/$file"
	sed -E "$command" "$dir/a/$file" >"$dir/b/$file"
	! cmp -s "$dir/a/$file" "$dir/b/$file" ||
		die "$EX_USAGE" "$TABLES: $name changes nothing in $file: mend its sed command"
	(cd "$dir" && diff -u "a/$file" "b/$file") >"$O/mutants/$name.patch" || :
	rm -rf "$dir"
	printf '%s\n' "$O/mutants/$name.patch"
}

# check_patches NAME PATCHES: do the patches exist that a mutant leaves out?
check_patches()
{
	local name=$1 patch patches

	read -ra patches <<<"$2"
	for patch in "${patches[@]}"; do
		[ -e "$TOP/$patch" ] || die "$EX_USAGE" "$TABLES: $name: there is no patch $patch"
	done
}

# The value of TESTS with which a runner runs these tests. kunit.py takes one glob:
# a suite, or nothing for all suites.
tests_for()
{
	local runner=$1 suites

	shift
	if [ "$runner" != kunit ]; then
		printf '%s\n' "${*#regress:}"
		return
	fi
	suites=$(printf '%s\n' "$@" | sed 's/:.*//' | sort -u)
	if [ "$(wc -l <<<"$suites")" = 1 ]; then
		printf 'fuse_wb_%s' "$suites"
	fi
}

# missed RUNNER RESULTS TEST...: print the tests that did not fail. A KUnit case
# that failed an assertion and then crashed the kernel has no result, but the log
# has its failure.
missed()
{
	python3 - "$@" <<'PY'
import fnmatch, json, re, sys
runner, results, *tests = sys.argv[1:]
with open(f'{results}/results.json', encoding='utf-8') as file:
    status = {t['name']: t['status'] for t in json.load(file)['tests']}
said = set()
if runner == 'kunit':
    with open(f'{results}/test.log', encoding='utf-8', errors='replace') as file:
        said = set(re.findall(r'# (\w+): (?:EXPECTATION|ASSERTION) FAILED', file.read()))
    tests = ['fuse_wb_' + test for test in tests]
for test in tests:
    ended = fnmatch.filter(status, test)
    if runner == 'regress':
        name = test.removeprefix('regress:')
        ended = fnmatch.filter(status, name) + fnmatch.filter(status, name + '.*')
    if 'fail' not in map(status.get, ended) and (ended or not said & set(test.split(':'))):
        print(test)
print(list(status.values()).count('fail'), 'failed', file=sys.stderr)
PY
}

# run_tests RUNNER ARCH SETTING LOG TEST...
run_tests()
{
	local runner=$1 arch=$2 setting=$3 log=$4

	shift 4
	env "$setting" ARCH="$arch" TESTS="$(tests_for "$runner" "$@")" \
		"$TOP/scripts/$runner.sh" >"$log" 2>&1
}

# run_mutant NAME RUNNER ARCH SETTING TEST...
run_mutant()
{
	local name=$1 runner=$2 arch=$3 setting=$4 status=0 alive

	shift 4
	rm -f "$O/results/latest"
	run_tests "$runner" "$arch" "$setting" "$O/mutants/$name.log" "$@" || status=$?
	if [ "$status" = 0 ]; then
		note "$name: every test passed"
		return 1
	elif [ ! -e "$O/results/latest/results.json" ]; then
		note "$name: was not run, see $O/mutants/$name.log"
		return 1
	fi
	alive=$(missed "$runner" "$O/results/latest" "$@") || return 1
	[ -z "$alive" ] || note "$name: these did not fail:" "${alive//$'\n'/ }"
	[ -z "$alive" ]
}

# chosen NAME TABLE WORD...: do the words select this mutant?
chosen()
{
	local name=$1 table=$2

	shift 2
	[ $# = 0 ] || [[ " $* " == *" $name "* ]] || [[ " $* " == *" $table "* ]]
}

# Fill the arrays with an entry for each mutant to run.
read_tables()
{
	local table runner usual default name file command tests arch setting

	for table in "$TABLES"/*; do
		usual=kselftest default=x86_64
		[ "${table##*/}" != kunit ] || usual=kunit default=um
		while IFS=$'\t' read -r name file command tests arch; do
			case $name in ''|'#'*) continue ;; esac
			runner=$usual
			case $tests in
			regress:*) runner=regress arch=${arch:-um} ;;
			esac
			arch=${arch:-$default}
			[ "${WANTED_ARCH:-$arch}" = "$arch" ] || continue
			chosen "$name" "${table##*/}" "$@" || continue
			if [ "$file" = - ]; then
				check_patches "$name" "$command"
				setting=LEAVE_OUT=$command
			else
				setting=EXTRA_PATCHES=$(mutant_patch "$name" "$file" "$command")
			fi
			names+=("$name") settings+=("$setting") runs+=("$runner $arch")
			cases+=("$tests")
		done <"$table"
	done
}

# The tests of the chosen mutants have to pass on the unmodified patched kernel.
run_unbroken()
{
	local run runner arch i words

	while read -r run; do
		words=()
		for i in "${!names[@]}"; do
			[ "${runs[i]}" != "$run" ] || read -ra words <<<"${words[*]} ${cases[i]}"
		done
		read -r runner arch <<<"$run"
		note "[0/${#names[@]}] $runner, $arch, without a mutant"
		run_tests "$runner" "$arch" LEAVE_OUT= "$O/mutants/none.log" "${words[@]}" ||
			die "$EX_FAIL" "the tests do not pass without a mutant, see $O/mutants/none.log"
	done < <(printf '%s\n' "${runs[@]}" | sort -u)
}

# A name stands for one mutant: its patch and its log are called so.
check_names()
{
	local twice

	twice=$(cut -f 1 "$TABLES"/* | grep -v '^#' | grep . | sort | uniq -d)
	[ -z "$twice" ] ||
		die "$EX_USAGE" "$TABLES: these names are taken twice, call one otherwise:" "${twice//$'\n'/ }"
}

check_variables
lock_build
"$TOP/scripts/deps.sh" source kernel guest tests judge
find_work
mkdir -p "$O/mutants"
check_names

# Write all patches of mutants now: while a mutant runs, its change is in the source.
prepare
names=() settings=() runs=() cases=()
if [ "${1:-}" = --check ]; then
	read_tables
	exit
fi
read_tables "$@"
[ "${#names[@]}" != 0 ] || usage_error "no such mutant or table: $*, see $TABLES"
run_unbroken

survived=()
for i in "${!names[@]}"; do
	note "[$((i + 1))/${#names[@]}] ${names[i]}"
	read -ra run <<<"${runs[i]}"
	read -ra words <<<"${cases[i]}"
	run_mutant "${names[i]}" "${run[@]}" "${settings[i]}" "${words[@]}" ||
		survived+=("${names[i]}")
done

[ "${#survived[@]}" = 0 ] || printf 'survived: %s\n' "${survived[@]}"
printf '%d passed, %d failed, 0 skipped\n' \
	"$((${#names[@]} - ${#survived[@]}))" "${#survived[@]}"
[ "${#survived[@]}" = 0 ]
