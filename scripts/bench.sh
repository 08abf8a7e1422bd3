#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# bench.sh: measure the speed of the base and the patched kernel in one run, in
# ROUNDS alternating rounds; with KERNEL=, of that kernel alone. METER selects the
# unit:
#
#	icount	instructions that QEMU executes: reproducible to 0.1 %, even on a
#		busy machine
#	um	wall clock in User Mode Linux: needs an idle machine
#	host	wall clock on the running kernel, as root: that kernel alone
#	direct	direct I/O against a server that takes a millisecond per request and
#		works in parallel: the guest's clock, which is virtual time at a
#		nanosecond per instruction, and jumps while the guest is idle
#	profile	the functions that execute the instructions, of one case
#
# bench.sh guard: check that the cases of bench/figures take as many instructions
# per page as that file says. Runs once, on the patched kernel alone.

WANTED_KERNEL=${KERNEL:-}
. "$(dirname "$0")/common.sh"

MODE=${1:-}
METER=${METER:-icount}
ROUNDS=${ROUNDS:-3}
BENCH=$TOP/scripts/bench
FIGURES=$BENCH/figures

build_program()
{
	local flags

	mkdir -p "$RESULTS/root"
	mapfile -t flags < <(pkg-config --static --cflags --libs fuse3 | tr ' ' '\n' | sed '/^$/d')
	gcc -O2 -g -Wall -Wextra -static -no-pie -pthread -o "$RESULTS/root/bench" \
		"$BENCH"/*.c "${flags[@]}" || return
	[ "$METER" != profile ] ||
		gcc -O2 -Wall -Wextra -shared -fPIC -o "$RESULTS/plugin.so" "$TOP/scripts/profile/plugin.c"
}

# The lines of the table that TESTS selects.
chosen_cases()
(
	local name copies arguments glob

	# Globs of cases, not of files; this runs in a subshell
	set -f
	sed '/^#/d;/^$/d' "$CASES" | while read -r name copies arguments; do
		for glob in ${TESTS:-*}; do
			# shellcheck disable=SC2254
			case $name in
			$glob)
				printf '%s %s %s\n' "$name" "$copies" "$arguments"
				break
				;;
			esac
		done
	done
)

# Set options, times and warm, a command to run first, for the script of the guest.
set_meter()
{
	options="-s 256M" times=1 warm=:
	case $METER in
	um)
		# The host allocates a page of UML at the first access, which takes longer
		# than the write. Touch all memory that will be used: of the file, of the
		# server's store, and of the temporary pages of base.
		warm="dd if=/dev/zero of=$TMPFS/bench.warm bs=1M count=1024 2>/dev/null && rm $TMPFS/bench.warm"
		times=9
		;;
	direct)
		# Requests of 128 KiB. The server sleeps for less than a tick: wait for high
		# resolution timers, which are there half a second after boot.
		warm="for i in \$(seq 200); do grep -q 'hres_active *: 1' /proc/timer_list && break; sleep 0.1; done; grep -q 'hres_active *: 1' /proc/timer_list"
		options="-y 1000 -t 64 -m 128k -P"
		;;
	icount|profile)
		# Instruction counts need no long runs
		options="-T -s 16M"
		;;
	esac
}

# The script for the guest. Unless a case needs the kernel's default limits, nothing
# is written back before fsync, so that both kernels do the same work.
write_script()
{
	local name copies arguments bounds options times warm

	set_meter
	cat <<-END
	vm() { [ $METER = host ] || echo "\$2" >/proc/sys/vm/\$1; }
	lift() { vm dirty_background_ratio 80; vm dirty_ratio 90; vm dirty_writeback_centisecs 0; }
	leave() { vm dirty_background_ratio 10; vm dirty_ratio 20; vm dirty_writeback_centisecs 500; }
	measure() { for i in \$(seq $times); do out=\$($PROGRAM \$2) || exit; echo "case=\$1 \$out"; $CLEAN; done; }
	$warm || exit
	END
	chosen_cases | while read -r name copies arguments; do
		case " $arguments" in
		*' -l '*) echo leave ;;
		*) echo lift ;;
		esac
		# Options of the server do not apply to a directory
		bounds=$(sed -E 's/^(-[pwl] |-t [0-9]+ )+//' <<<"$arguments")
		printf 'measure %s "%s" || exit\n' "$name" "$options $arguments"
		# A profile or the guard needs no bounds
		case $copies$METER$MODE in
		-*|*profile|*guard) continue ;;
		esac
		for arguments in "-d $TMPFS $bounds" "-d $TMPFS -k $copies $bounds"; do
			printf 'measure %s "%s" || exit\n' "$name" "$options $arguments"
		done
	done
}

# for_kernel KERNEL COMMAND...: the base kernel takes no patches.
for_kernel()
{
	local KERNEL=$1

	shift
	case $KERNEL in
	base) env KERNEL=base EXTRA_PATCHES='' LEAVE_OUT='' "$@" ;;
	*) env KERNEL=patched "$@" ;;
	esac
}

# round NUMBER KERNEL: the whole list on one kernel.
round()
{
	local status=0 guest=$RESULTS/guest

	if [ "$METER" = host ]; then
		sh "$RESULTS/run.sh" >"$RESULTS/out.txt" || return
	else
		mkdir -p "$guest"
		[ "$METER" != profile ] || export PLUGIN=$RESULTS/plugin.so,out=$RESULTS/counts.$2
		for_kernel "$2" "$TOP/scripts/rootfs.sh" "$RESULTS/initrd" "$RESULTS/run.sh" "$RESULTS/root" &&
		for_kernel "$2" "$TOP/scripts/guest.sh" "$guest" "$RESULTS/initrd" || status=$?
		cp "$guest/out.txt" "$RESULTS/out.txt"
		if [ "$status" != 0 ]; then
			cat "$guest/err.txt"
			return "$status"
		fi
	fi
	sed "s/^/round=$1 kernel=$2 /" "$RESULTS/out.txt" >>"$RESULTS/raw.txt"
}

build_kernels()
{
	local kernel

	"$TOP/scripts/source.sh" || return
	for kernel in "${KERNELS[@]}"; do
		# base for x86_64 is the source itself: do not remake the patched tree for it
		[ "$kernel-$ARCH" = base-x86_64 ] || for_kernel "$kernel" "$TOP/scripts/series.sh" || return
		for_kernel "$kernel" "$TOP/scripts/kernel.sh" || return
	done
}

# Print the results as text.
report()
{
	local kernel arguments=()

	if [ "$METER" = profile ]; then
		for kernel in "${KERNELS[@]}"; do
			arguments+=("$kernel=$(KERNEL=$kernel kernel_dir)/vmlinux=$RESULTS/counts.$kernel")
		done
		"$TOP/scripts/profile/report.py" "$RESULTS/raw.txt" "$RESULTS/root/bench" "${arguments[@]}" |
			tee "$RESULTS/profile.txt"
		return
	fi
	[ "$MODE" != guard ] || arguments=(--figures "$FIGURES")
	"$BENCH/report.py" "$RESULTS" --setting "METER=$METER" --setting "ROUNDS=$ROUNDS" \
		--setting "SOURCE=$(source_name)" --setting "EXTRA_PATCHES=$EXTRA_PATCHES" \
		--setting "LEAVE_OUT=$LEAVE_OUT" --setting "MEM=$MEM" "${arguments[@]}"
}

KERNELS=(base patched)
[ -z "$WANTED_KERNEL" ] || KERNELS=("$WANTED_KERNEL")
CASES=$BENCH/cases
PROGRAM=/bench
TMPFS=/tmp
CLEAN='rm -rf /tmp/bench.*'
case $MODE in
guard)
	METER=icount
	ROUNDS=1
	KERNELS=(patched)
	TESTS=$(sed '/^#/d;s/[[:space:]].*//' "$FIGURES")
	;;
'')
	;;
*)
	usage_error "bench.sh '$MODE': the only word that it takes is guard"
	;;
esac
case $METER in
icount)
	ARCH=x86_64
	ICOUNT=1
	;;
profile)
	ARCH=x86_64
	ICOUNT=1
	ROUNDS=1
	TESTS=${TESTS:-seq-1m}
	;;
direct)
	ARCH=x86_64
	ICOUNT=1
	CASES=$BENCH/direct
	;;
um)
	ARCH=um
	;;
host)
	KERNELS=("$(uname -r)")
	;;
*)
	usage_error "METER='$METER' is not known: use METER=icount, direct, um, host or profile"
	;;
esac
check_number ROUNDS "$ROUNDS" 3
export ARCH ICOUNT
check_variables
lock_build
"$TOP/scripts/deps.sh" source kernel guest tests bench
find_work
new_results bench "bench-$METER"
if [ "$METER" = host ]; then
	[ "$(id -u)" = 0 ] || usage_error "METER=host mounts FUSE: run it as root"
	PROGRAM=$RESULTS/root/bench
	TMPFS=/dev/shm
	CLEAN='rm -rf /dev/shm/bench.*'
fi
case $METER-$(chosen_cases | wc -l) in
*-0) usage_error "TESTS='$TESTS' leaves no case: see $CASES" ;;
profile-1) ;;
profile-*) usage_error "TESTS='$TESTS' leaves more than one case: METER=profile takes one" ;;
esac

step 1/4 "benchmark" build_program || exit "$EX_MACHINERY"
write_script >"$RESULTS/run.sh"
[ "$METER" = host ] || step 2/4 "kernels, $ARCH" build_kernels || exit "$EX_MACHINERY"
for ((i = 1; i <= ROUNDS; i++)); do
	for kernel in "${KERNELS[@]}"; do
		step 3/4 "round $i of $ROUNDS, $kernel" round "$i" "$kernel" || exit
	done
done
note "[4/4] results"
status=0
report || status=$?
rm -rf "$RESULTS"/{root,guest,initrd,initrd.list,run.sh,out.txt,plugin.so}
note "results: $RESULTS"
exit "$status"
