#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# plan.py on small lists of tests: which guest runs what, and the order of the results.

. "$(dirname "$0")/tap.sh"

# "PROGRAM SECONDS", each with two tests
programs()
{
	local program seconds

	while read -r program seconds; do
		printf "$program %s\n" one.x one.y >>"$SCRATCH/tests"
		printf "$seconds.0 $program:%s\n" one.x one.y >>"$SCRATCH/known"
	done
}

# plan JOBS: "GUEST=PROGRAM ..." of each guest
plan()
{
	"$SCRIPTS/plan.py" "$SCRATCH/tests" --jobs "$1" --known "$SCRATCH/known" \
		--alone "$SCRATCH/alone" >"$SCRATCH/plan" 2>"$SCRATCH/err" || return
	awk '{ sub(/^boot-/, "", $1) }
		!seen[$1, $2]++ { if (!($1 in of)) order[++n] = $1; of[$1] = of[$1] " " $2 }
		END { for (i = 1; i <= n; i++) printf "%s:%s\n", order[i], of[order[i]] }' "$SCRATCH/plan"
}

programs <<-END
	a 10
	b 2
	c 30
	d 20
	e 8
END
: >"$SCRATCH/alone"
is "$(plan 1)" "v1: a b c d e" "one job: all in one guest"
is "$(plan 2)" "$(printf 'v1: a b d\nv1-2: c e')" "two jobs: as much time for both, the longest first"
is "$(cut -d' ' -f2,3 "$SCRATCH/plan")" "$(cat "$SCRATCH/tests")" "each test once, in the order of the list"
is "$(plan 9 | wc -l)" 3 "nine jobs: no more guests than end sooner for it"
printf '# a comment\n\nb\t# a reason\ne # another\n' >"$SCRATCH/alone"
is "$(plan 2)" "$(printf 'v1: a b d e\nv1-2: c')" "those that run alone are in one guest"
is "$(plan 1)" "v1: a b c d e" "of one job that changes nothing"
: >"$SCRATCH/alone"
printf '%s\n' 'd two.v2_z.x' 'd two.v1_z.x' 'f v2_not.x' >>"$SCRATCH/tests"
printf '%s\n' '9.0 d:two.v2_z.x' '0.0 d:two.v1_z.x' '0.0 f:v2_not.x' >>"$SCRATCH/known"
is "$(plan 1)" "$(printf 'v1: a b c d e f\nv2: d')" "cgroup v2 has a guest, which is the last"
is "$(plan 2)" "$(printf 'v1: a b d\nv1-2: c e f\nv2: d')" \
	"and its time is left to it: it follows the guest that has less to do"
sort "$SCRATCH/tests" >"$SCRATCH/sorted"
is "$(cut -d' ' -f2,3 "$SCRATCH/plan" | sort)" "$(cat "$SCRATCH/sorted")" "each test once"
is "$(sed -n 's/^boot-v2 //p' "$SCRATCH/plan")" "d two.v2_z.x" "and there is what needs it"

rm "$SCRATCH/known"
is "$(plan 2 | wc -l)" 2 "of little that is not known, one guest and that of cgroup v2"
for i in $(seq 100); do
	echo "g one.t$i"
done >>"$SCRATCH/tests"
is "$(plan 2)" "$(printf 'v1: a b c d e f\nv1-2: g\nv2: d')" "of much, by the number of tests"
echo 'a without a reason' >"$SCRATCH/alone"
plan 2
is $? 2 "a program without a reason is wrong usage"
says "$SCRATCH/err" '/alone:1: want "PROGRAM # REASON"$' "and says so"
end_tests
