#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# guest.sh DIR INITRD [shell]: boot the kernel of ARCH, KERNEL and DEBUG with
# INITRD, and leave in DIR what it said:
#
#	console.txt	the kernel's console
#	out.txt		standard output of the command
#	err.txt		its standard error
#	status.txt	how it ended, in the words of init.c
#
# The kernel is IMAGE instead, where that is set. Exits with the command's status; 124 when TIMEOUT (s) ran out, 255 when the
# kernel panicked, 69 when the guest never got as far as the command, or ended
# without saying how. With "shell" the console is the terminal.

. "$(dirname "$0")/common.sh"

common_arguments()
{
	printf '%s' "panic=-1 oops=panic"
	[ -z "${CGROUP:-}" ] || printf ' fuse_wb.cgroup=%s' "$CGROUP"
}

# The fuse_wb.* of the command line for a guest that is not interactive.
ports()
{
	[ "$MODE" = shell ] || printf ' fuse_wb.out=%s fuse_wb.err=%s fuse_wb.status=%s' "$1" "$2" "$3"
}

port()
{
	printf '%s\n' -chardev "file,id=$1,path=$DIR/$1.txt" -device "virtserialport,chardev=$1,nr=$2"
}

# KVM counts only where a guest has really booted with it; some machines have a
# /dev/kvm that does not work. Ask once for every boot of the machine.
accelerator()
{
	local probe=$O/kvm-probe id lock

	if [ "$ICOUNT" = 1 ] || [ ! -w /dev/kvm ] || [ -n "${FUSE_WB_PROBING:-}" ]; then
		printf '%s' "${FUSE_WB_PROBING:-tcg}"
		return
	fi
	# Guests that run side by side must not ask at the same time.
	exec {lock}>"$probe.lock"
	flock "$lock"
	id=$(cat /proc/sys/kernel/random/boot_id)
	if [ "$(head -n 1 "$probe" 2>/dev/null)" != "$id" ]; then
		mkdir -p "$O/kvm"
		printf 'exit 0\n' >"$O/kvm/run.sh"
		"$TOP/scripts/rootfs.sh" "$O/kvm/initrd" "$O/kvm/run.sh"
		if FUSE_WB_PROBING=kvm MODE='' TIMEOUT=20 "$0" "$O/kvm" "$O/kvm/initrd" >/dev/null 2>&1; then
			printf '%s\nkvm\n' "$id"
		else
			printf '%s\ntcg\n' "$id"
		fi >"$probe"
	fi
	tail -n 1 "$probe"
}

qemu_command()
{
	local accel cpu=max append

	accel=$(accelerator)
	# The timer works; on a busy host the test of it fails.
	append="console=ttyS0 no_timer_check fuse_wb.leave=reset $(common_arguments)"
	append+=$(ports /dev/vport0p1 /dev/vport0p2 /dev/vport0p3)
	# For the tests of migration: memory blocks that can be taken offline, and
	# two nodes.
	[ "$MEM" -lt 2048 ] || append+=" kernelcore=1G numa=fake=2"
	command=(qemu-system-x86_64 -machine "pc,acpi=off" -nodefaults -no-user-config -display none -no-reboot
		-kernel "$IMAGE" -initrd "$INITRD" -append "$append"
		-m "$MEM" -smp "$CPUS,sockets=$CPUS")
	case $accel in
	kvm)
		command+=(-accel kvm)
		cpu=host
		;;
	*)
		command+=(-accel "tcg$([ "$CPUS" = 1 ] || echo ,thread=multi)")
		;;
	esac
	if [ "$ICOUNT" = 1 ]; then
		# Without these, copies run as rep movsq, close to their real cost.
		cpu=max,-erms,-fsrm
		command+=(-icount "shift=0,sleep=off")
	fi
	command+=(-cpu "$cpu")
	[ -z "${PLUGIN:-}" ] || command+=(-plugin "$PLUGIN")
	if [ "$MODE" = shell ]; then
		command+=(-serial mon:stdio)
	else
		command+=(-serial "file:$DIR/console.txt" -device virtio-serial-pci)
		mapfile -t -O ${#command[@]} command < <(port out 1; port err 2; port status 3)
	fi
}

# UML has one processor, and each system call and page fault of a process in it goes
# from one process to another and back. Where these are on two processors, each wakes up
# one that sleeps, which takes a virtual machine long: 0.4 ms for a page fault, and
# 0.08 ms on one processor. This is the last that we may use, or for guests that run side
# by side, of which each has a GUEST_SLOT from 0, one before.
one_processor()
{
	python3 -c 'import os, sys
cpus = sorted(os.sched_getaffinity(0), reverse=True)
print(cpus[int(sys.argv[1]) % len(cpus)])' "${GUEST_SLOT:-0}"
}

uml_command()
{
	local con="null,fd:1"

	[ "$MODE" != shell ] || con="fd:0,fd:1"
	# shellcheck disable=SC2207
	command=(taskset -c "$(one_processor)" "$IMAGE" "initrd=$INITRD" "mem=${MEM}M"
		"uml_dir=$DIR/uml/" con=null "con0=$con"
		"ssl0=null,fd:3" "ssl1=null,fd:4" "ssl2=null,fd:5"
		$(common_arguments) $(ports /dev/ttyS0 /dev/ttyS1 /dev/ttyS2))
}

# UML complains that it cannot poll regular files and works all the same.
run_uml()
{
	exec timeout -k 5 "$TIMEOUT" "${command[@]}" </dev/null >"$DIR/console.txt" 2>&1 \
		3>"$DIR/out.txt" 4>"$DIR/err.txt" 5>"$DIR/status.txt"
}

run_qemu()
{
	exec timeout -k 5 "$TIMEOUT" "${command[@]}" </dev/null >"$DIR/emulator.txt" 2>&1
}

# From what is left of the guest to an exit status.
judge_guest()
{
	local status=$1 word value last

	last=$(tail -n 1 "$DIR/status.txt" 2>/dev/null)
	read -r word value <<<"$last" || :
	if [ "$status" = 124 ] || [ "$status" = 137 ]; then
		note "the guest did not end within $TIMEOUT s; its console is $DIR/console.txt"
		return "$EX_TIMEOUT"
	fi
	if grep -q 'Kernel panic' "$DIR/console.txt" 2>/dev/null; then
		note "the guest's kernel panicked; its console is $DIR/console.txt"
		return "$EX_PANIC"
	fi
	case $word in
	exit)
		return "$value"
		;;
	signal)
		note "the command was killed by signal $value"
		return $((128 + value))
		;;
	ready)
		note "the guest died before the command ended; its console is $DIR/console.txt"
		;;
	*)
		note "the guest did not boot as far as the command; its console is $DIR/console.txt"
		[ ! -s "$DIR/emulator.txt" ] || tail -n 5 "$DIR/emulator.txt" >&2
		;;
	esac
	return "$EX_MACHINERY"
}

check_variables
find_work
DIR=$1
INITRD=$2
MODE=${3:-}
IMAGE=${IMAGE:-$(kernel_image)}
command=()
case $ARCH in
um) uml_command ;;
x86_64) qemu_command ;;
esac
if [ "$MODE" = shell ]; then
	exec "${command[@]}"
fi
# Emptied, not removed: somebody may follow them already.
for file in console out err status emulator; do
	: >"$DIR/$file.txt"
done
status=0
case $ARCH in
um) start run_uml ;;
x86_64) start run_qemu ;;
esac
finish "$child" || status=$?
judge_guest "$status"
