#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Tests of the guest, with the kernels in the build directory O: the output and the
# status of a command reach the host, and a guest that dies, hangs or panics never
# counts as a pass.

. "$(dirname "$0")/tap.sh"

export O=${O:-$SCRIPTS/../build} KERNEL=patched MEM=1024
unset EXTRA_PATCHES LEAVE_OUT DEBUG TESTS

# guest ARCH SECONDS LINE: run a line of shell in a guest.
guest()
{
	printf '%s\n' "$3" >"$SCRATCH/run.sh"
	ARCH=$1 "$SCRIPTS/rootfs.sh" "$SCRATCH/initrd" "$SCRATCH/run.sh"
	ARCH=$1 TIMEOUT=$2 "$SCRIPTS/guest.sh" "$SCRATCH" "$SCRATCH/initrd" 2>"$SCRATCH/said"
}

# The command that ends a guest at once: on a reboot, UML would start again.
declare -A leave=([x86_64]='reboot -f' [um]='poweroff -f')

for arch in x86_64 um; do
	guest $arch 60 'echo to out; echo to err >&2; exit 7'
	is $? 7 "$arch: the command's exit status"
	is "$(cat "$SCRATCH/out.txt")" "to out" "$arch: its output, to the byte"
	is "$(cat "$SCRATCH/err.txt")" "to err" "$arch: its error output"
	guest $arch 60 'kill -9 $$'
	is $? 137 "$arch: a command that is killed"
	guest $arch 60 'echo c >/proc/sysrq-trigger; sleep 100'
	is $? 255 "$arch: a panic"
	guest $arch 5 'sleep 100'
	is $? 124 "$arch: a hang"
	guest $arch 60 "${leave[$arch]}; sleep 100"
	is $? 69 "$arch: a guest that ends without a word"
	says "$SCRATCH/said" 'died before the command ended' "$arch: and what is said of it"
	guest $arch 60 'seq 100000 | tee /dev/stderr >/dev/stdout'
	is "$(cksum <"$SCRATCH/out.txt") $(cksum <"$SCRATCH/err.txt")" \
		"$(seq 100000 | cksum) $(seq 100000 | cksum)" "$arch: much output"
	guest $arch 60 'grep -q memory /sys/fs/cgroup/cgroup.controllers'
	is $? 0 "$arch: cgroup v2 by default"
	CGROUP=v1 guest $arch 60 'cat /sys/fs/cgroup/memory/memory.limit_in_bytes'
	is $? 0 "$arch: the legacy memory controller on request"
done

: >"$SCRATCH/initrd"
ARCH=x86_64 TIMEOUT=60 "$SCRIPTS/guest.sh" "$SCRATCH" "$SCRATCH/initrd" 2>"$SCRATCH/said"
is $? 255 "a guest without an initramfs panics"

export ARCH=x86_64
release=$(cat "$O"/*/patched/x86_64/include/config/kernel.release | head -n 1)
is "$("$SCRIPTS/exec.sh" '/bin/busybox uname -r' 2>/dev/null)" "$release" \
	"make exec prints what the program prints and nothing else"
"$SCRIPTS/exec.sh" "/bin/busybox sh -c 'exit 3'" 2>/dev/null
is $? 3 "make exec passes the exit status through"
cp /bin/busybox "$SCRATCH/busybox"
is "$("$SCRIPTS/exec.sh" "$SCRATCH/busybox echo 'two  blanks' \$((6 * 7))" 2>/dev/null)" "two  blanks 42" \
	"a program from below /tmp runs, with its arguments as a shell takes them"
"$SCRIPTS/exec.sh" "$BASH -c true" 2>"$SCRATCH/said"
is $? 2 "make exec refuses a program that needs libraries"
says "$SCRATCH/said" 'link it with -static' "and names the remedy"
"$SCRIPTS/exec.sh" /no/such/program 2>"$SCRATCH/said"
is $? 2 "make exec refuses a program that is not there"
"$SCRIPTS/exec.sh" '' 2>"$SCRATCH/said"
is $? 2 "make exec wants a command"

# ^C: SIGINT to the whole process group, as from a terminal. If this test runs in the
# background, it may have inherited SIGINT as ignored, which a shell cannot undo.
set -m
env --default-signal=INT "$SCRIPTS/exec.sh" '/bin/busybox sleep 1000' >/dev/null 2>&1 &
group=$!
set +m
for _ in $(seq 600); do
	status=("$O"/exec/*/status.txt)
	[ ! -s "${status[0]}" ] || break
	sleep 0.1
done
[ -s "${status[0]}" ]
ok $? "the guest runs within a minute"
kill -INT -- "-$group"
wait "$group" 2>/dev/null
is $? 130 "^C ends it"
pgrep -f -- "-initrd $O/exec/" >/dev/null
is $? 1 "and leaves no guest behind"
is "$(ls "$O/exec")" "" "nor anything else"
end_tests
