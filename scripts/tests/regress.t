#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# regress.py on made-up observations of two kernels, and lists of differences.

. "$(dirname "$0")/tap.sh"

tab=$(printf '\t')
printf '# Promises\n\nno-temp-pages\tno copies\nkill\tSIGKILL ends it\n' >"$SCRATCH/promises"

# compare TITLE STATUS SAYS ARGUMENT...: compare base.txt and patched.txt, with the list
# on standard input.
compare()
{
	local title=$1 status=$2 says=$3

	shift 3
	cat >"$SCRATCH/differences"
	"$SCRIPTS/regress.py" "$SCRATCH" --differences "$SCRATCH/differences" \
		--promises "$SCRATCH/promises" --splats "$SCRIPTS/splats" "$@" >"$SCRATCH/out" 2>&1
	is $? "$status" "$title: exit status"
	says "$SCRATCH/out" "$says" "$title: message"
}

# shows KERNEL LINE...: the observations of a kernel.
shows()
{
	printf '%s\n' '# run 1' "${@:2}" >"$SCRATCH/$1.txt"
	echo booted >"$SCRATCH/$1-dmesg.txt"
}

shows base 'a.same: 5' 'a.two.key: 100 x'
shows patched 'a.same: 5' 'a.two.key: 100 x'
compare "the same" 0 '^2 passed, 0 failed, 0 skipped$' </dev/null
python3 -c 'import json, sys; r = json.load(open(sys.argv[1])); sys.exit(r["passed"] != 2 or len(r["tests"]) != 2)' \
	"$SCRATCH/results.json"
ok $? "the same: results.json has both"
python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' "$SCRATCH/junit.xml"
ok $? "the same: junit.xml is XML"

shows patched 'a.same: 5' 'a.two.key: 100 zeroes'
compare "unlisted" 1 'DIFFERS a.two.key: differs' </dev/null
says "$SCRATCH/out" '^ +base: 100 x$' "unlisted: what base shows"
says "$SCRATCH/out" '^1 passed, 1 failed, 0 skipped$' "unlisted: counts"

line="a.two.key${tab}100 x${tab}100 zeroes${tab}kill"
compare "listed" 0 'ok a.two.key differs as listed, for kill' <<<"$line"
compare "listed by a glob" 0 'differs as listed' <<<"a.*${tab}100 *${tab}*${tab}kill"
compare "listed with another text" 1 'DIFFERS a.two.key' <<<"${line/100 zeroes/200 zeroes}"
compare "no such promise" 2 'no promise murder' <<<"${line/kill/murder}"
compare "no promise at all" 2 'differences:1: want NAME' <<<"a.two${tab}100 x${tab}100 zeroes"

shows patched 'a.same: 5' 'a.two.key: 100 x'
compare "stale" 1 'differences:1: a.two.key does not differ like that' <<<"$line"
says "$SCRATCH/out" '^1 passed, 1 failed, 0 skipped$' "stale: counts"
compare "stale, and its observation was not asked for" 0 '^2 passed' --tests 'a.same a.two' \
	<<<"b.other${tab}1${tab}2${tab}kill"

shows patched 'a.same: 5'
compare "on one kernel only" 1 '^ +patched: -$' </dev/null
compare "on one kernel only, listed" 0 '^2 passed' <<<"a.two.key${tab}100 x${tab}-${tab}kill"

printf 'a.same\na.two\nb.three\n' >"$SCRATCH/wanted"
shows patched 'a.same: 5' 'a.two.key: 100 x'
compare "missing" 2 '1 observations have no result on the patched kernel: b.three' \
	--wanted "$SCRATCH/wanted" </dev/null

shows base 'a.same: 5' 'a.two.deadline: ended by its deadline'
compare "the deadline on base" 1 'DIFFERS a.two.deadline' </dev/null
shows patched 'a.same: 5' 'a.two.deadline: ended by its deadline'
compare "the deadline on both" 1 'ran into its deadline on both' </dev/null

shows base 'a.same: 5' 'a.two.broken: observe.c:1: fd >= 0'
shows patched 'a.same: 5' 'a.two.broken: observe.c:1: fd >= 0'
compare "broken" 1 'did not come to what it observes' </dev/null

shows base 'a.same: 5' 'a.two.skipped: needs a feature'
shows patched 'a.same: 5' 'a.two.skipped: needs a feature'
compare "skipped" 1 'was skipped but must run' </dev/null
compare "skipped where it may be" 0 '^1 passed, 0 failed, 1 skipped$' --may-skip <<<"$line"

shows base 'a.same: 5' '# run 2' 'a.same: 5'
shows patched 'a.same: 5' '# run 2' 'a.same: 6'
compare "not the same each time" 1 'is not the same each time on patched' </dev/null
shows patched 'a.same: 5' '# run 2'
compare "not there each time" 1 'is not the same each time on patched' </dev/null

shows base
shows patched
compare "empty" 2 'nothing was observed' </dev/null
compare "empty, after a guest that hung" 124 'a guest did not end well' --guest-status 124 </dev/null

shows base 'a.same: 5'
shows patched 'a.same: 5'
head -n 1 "$HERE/splats.examples" >"$SCRATCH/base-dmesg.txt"
compare "a splat" 255 'lines that it must not' </dev/null
end_tests
