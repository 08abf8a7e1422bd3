#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# kselftest.sh with a fake kernel, tests and guests: which guests run concurrently, and
# how their output is combined.

. "$(dirname "$0")/tap.sh"

REPO=$SCRATCH/repo
FAKE=$SCRATCH/fake
export SCRATCH KUNIT_TREE KSRC=$KUNIT_TREE O=$SCRATCH/build ARCH=um PATH=$FAKE:$PATH
unset JOBS TESTS REPEAT EXPECT EXTRA_PATCHES LEAVE_OUT DEBUG

# fake FILE: replace a script by one from standard input.
fake()
{
	{
		echo '#!/bin/bash'
		cat
	} >"$1"
	chmod +x "$1"
}

mkdir -p "$REPO" "$FAKE" "$O/durations"
cp -r "$SCRIPTS" "$REPO/"
mkdir -p "$REPO/tools/testing/selftests/fuse_wb"
: >"$REPO/tools/testing/selftests/fuse_wb/expected"
for script in deps series; do
	fake "$REPO/scripts/$script.sh" </dev/null
done
fake "$REPO/scripts/source.sh" <<'SCRIPT'
work=$(echo "$O"/ksrc-*)
mkdir -p "$work/base"
ln -sfn "$KUNIT_TREE" "$work/base/src"
SCRIPT
fake "$REPO/scripts/kernel.sh" <<'SCRIPT'
work=$(echo "$O"/ksrc-*)
mkdir -p "$work/patched/um"
echo a kernel >"$work/patched/um/linux"
SCRIPT
fake "$REPO/scripts/rootfs.sh" <<<'echo initrd >"$1"'
fake "$FAKE/strip" </dev/null

# Three programs with two tests each. One test of b_test needs cgroup v2.
fake "$FAKE/make" <<'SCRIPT'
for word; do
	case $word in INSTALL_PATH=*) dir=${word#*=} ;; esac
done
mkdir -p "$dir/fuse_wb"
for program in a_test b_test c_test; do
	echo "fuse_wb:$program"
	second=w_x
	[ "$program" != b_test ] || second=v2_x
	cat >"$dir/fuse_wb/$program" <<-END
		#!/bin/sh
		printf '%-20s %-25s %s\n' '# FIXTURE' VARIANT TEST one ${program%_test}v1_x first '' $second '' >&2
	END
	chmod +x "$dir/fuse_wb/$program"
done >"$dir/kselftest-list.txt"
SCRIPT

# A fake guest prints results for the tests in its run.sh. It waits until BESIDE guests
# have started; a guest with a test of the program DIES ends in the middle.
fake "$REPO/scripts/guest.sh" <<'SCRIPT'
name=$(basename "$1")
echo "begin $name cgroup=$CGROUP slot=$GUEST_SLOT $(cat "$IMAGE")" >>"$SCRATCH/guests"
for _ in $(seq 100); do
	[ "$(grep -c ^begin "$SCRATCH/guests")" -lt "${BESIDE:-1}" ] || break
	sleep 0.1
done
echo "kernel of $name" >"$1/console.txt"
: >"$1/err.txt"
: >"$1/emulator.txt"
[ -z "${HANGS:-}" ] || sleep "$HANGS"
{
	echo 'TAP version 13'
	echo "1..$(grep -c _ARGS "$1/run.sh")"
	programs=0
	sed -n -E 's/^export KSELFTEST_([A-Z_]+)_ARGS="(.*)"/\L\1\E \2/p' "$1/run.sh" | tr -d '"' |
		while read -r program tests; do
			echo "# selftests: fuse_wb: $program"
			echo '# TAP version 13'
			echo "# 1..$(wc -w <<<"${tests//-r/}")"
			number=0
			for test in ${tests//-r/}; do
				number=$((number + 1))
				echo "# #  RUN           $test ..."
				[ "$program" != "${DIES:-}" ] || exit
				echo "# ok $number $test"
			done
			programs=$((programs + 1))
			echo "ok $programs selftests: fuse_wb: $program"
		done
} >"$1/out.txt"
[ -z "${DIES:-}" ] || ! grep -qi "${DIES}_ARGS" "$1/run.sh" || exit 255
echo "end $name" >>"$SCRATCH/guests"
SCRIPT

# run VARIABLE=VALUE...
run()
{
	: >"$SCRATCH/guests"
	env RESULTS_FILE="$SCRATCH/results" "$@" "$REPO/scripts/kselftest.sh" >"$SCRATCH/out" 2>"$SCRATCH/err"
}

# The results in the order shown, and those of results.json.
shown()
{
	grep '^  ' "$SCRATCH/err" | paste -sd' '
}

names()
{
	python3 -c 'import json, sys; print(*(t["name"] for t in json.load(open(sys.argv[1]))["tests"]))' \
		"$(cat "$SCRATCH/results")/results.json"
}

run JOBS=1
is $? 0 "one job: exit status"
is "$(tail -n 1 "$SCRATCH/out")" "6 passed, 0 failed, 0 skipped" "one job: verdict"
is "$(cat "$SCRATCH/guests")" "begin boot-v1 cgroup= slot=0 a kernel
end boot-v1
begin boot-v2 cgroup=v2 slot=0 a kernel
end boot-v2" "one job: one guest after the other, cgroup v2 last"
listed="a_test:one.av1_x.first a_test:one.w_x.first b_test:one.bv1_x.first c_test:one.cv1_x.first c_test:one.w_x.first b_test:one.v2_x.first"
is "$(names)" "$listed" "one job: all tests, in their order"
is "$(ls "$(cat "$SCRATCH/results")" | paste -sd' ')" "dmesg.txt junit.xml repro.sh results.json test.log" "one job: the folder"
is "$(cat "$(cat "$SCRATCH/results")/dmesg.txt")" "$(printf 'kernel of boot-v1\nkernel of boot-v2')" "one job: the logs, one after the other"
first=$(shown)

# b takes as long as a and c together
printf '20.000 %s\n' a_test:one.av1_x.first c_test:one.cv1_x.first >"$O/durations/um-patched"
printf '0.000 %s\n' a_test:one.w_x.first c_test:one.w_x.first b_test:one.v2_x.first >>"$O/durations/um-patched"
echo '40.000 b_test:one.bv1_x.first' >>"$O/durations/um-patched"
cp "$O/durations/um-patched" "$SCRATCH/known"
run JOBS=2 BESIDE=2
is $? 0 "two jobs: exit status"
is "$(head -n 2 "$SCRATCH/guests" | sort)" "begin boot-v1 cgroup= slot=0 a kernel
begin boot-v1-2 cgroup= slot=1 a kernel" "two jobs: two guests begin, each with a slot"
is "$(grep -c '^end' "$SCRATCH/guests")" 3 "two jobs: all three end"
[ "$(sed -n '1,/begin boot-v2/p' "$SCRATCH/guests" | grep -c '^end')" -ge 1 ]
ok $? "two jobs: the third begins when a first has ended"
is "$(names)" "$listed" "two jobs: results.json is as of one job"
is "$(shown)" "$first" "two jobs: what is shown is as of one job"
is "$(cat "$(cat "$SCRATCH/results")"/boot-*/console.txt | sort | paste -sd' ')" \
	"kernel of boot-v1 kernel of boot-v1-2 kernel of boot-v2" "two jobs: the log of each guest is kept"
is "$(find "$(cat "$SCRATCH/results")" -name initrd -o -name kernel -o -name run.sh)" "" "two jobs: and nothing of what went in"

cp "$SCRATCH/known" "$O/durations/um-patched"
run JOBS=2 DIES=b_test
is $? 255 "a guest that dies: exit status"
says "$SCRATCH/out" '^fuse_wb: .*ended early' "a guest that dies: is told of"
is "$(shown | tr ' ' '\n' | grep -c first)" 4 "a guest that dies: the results of others are shown"

cp "$SCRATCH/known" "$O/durations/um-patched"
: >"$SCRATCH/guests"
set -m
# If this test runs in the background, it may have inherited SIGINT as ignored, which a
# shell cannot undo.
JOBS=2 BESIDE=2 HANGS=98762.$$ env --default-signal=INT "$REPO/scripts/kselftest.sh" \
	>"$SCRATCH/out" 2>"$SCRATCH/err" &
group=$!
set +m
for _ in $(seq 200); do
	[ "$(pgrep -f -c "sleep 98762.$$\$")" -lt 2 ] || break
	sleep 0.1
done
is "$(pgrep -f -c "sleep 98762.$$\$")" 2 "two guests run"
kill -INT -- "-$group"
wait "$group" 2>/dev/null
is $? 130 "^C ends it"
is "$(pgrep -f -c "sleep 98762.$$\$")" 0 "and leaves no guest behind"
end_tests
