#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# guest.sh DIR INITRD [shell]: boot the kernel of ARCH, KERNEL and DEBUG with
# INITRD, and write its output to DIR:
#
#	console.txt	the kernel's console
#	out.txt		standard output of the command
#	err.txt		its standard error
#	status.txt	how it ended, as written by init.c
#
# The kernel is IMAGE instead, if that is set. Exits with the command's status; 124
# if TIMEOUT (s) expired, 255 if the kernel panicked, 69 if the guest never started
# the command, or ended without a status. With "shell" the console is the terminal.

. "$(dirname "$0")/common.sh"

common_arguments()
{
	printf '%s' "panic=-1 oops=panic"
	[ -z "${CGROUP:-}" ] || printf ' fuse_wb.cgroup=%s' "$CGROUP"
}

# The fuse_wb.* parameters of a guest that is not interactive.
ports()
{
	[ "$MODE" = shell ] || printf ' fuse_wb.out=%s fuse_wb.err=%s fuse_wb.status=%s' "$1" "$2" "$3"
}

port()
{
	printf '%s\n' -chardev "file,id=$1,path=$DIR/$1.txt" -device "virtserialport,chardev=$1,nr=$2"
}

# Use KVM only after a guest has booted with it, as /dev/kvm does not work on some
# machines. Probe once per boot of the machine.
accelerator()
{
	local probe=$O/kvm-probe id lock

	if [ "$ICOUNT" = 1 ] || [ ! -w /dev/kvm ] || [ -n "${FUSE_WB_PROBING:-}" ]; then
		printf '%s' "${FUSE_WB_PROBING:-tcg}"
		return
	fi
	# Guests that start concurrently must not probe at the same time.
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
	# The timer works, but the kernel's check of it fails on a busy host.
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
		# Without these features, copies use rep movsq, whose count is close to its cost.
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

# UML has one processor, and each system call and page fault of a process in it switches
# from one host process to another and back. If these run on two processors, each switch
# wakes up an idle processor, which is slow in a virtual machine: a page fault takes
# 0.4 ms, and 0.08 ms on one processor. Use the last processor that we may use, or an
# earlier one for each of several concurrent guests, which have a GUEST_SLOT from 0.
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

# UML warns that it cannot poll regular files, but works.
run_uml()
{
	exec timeout -k 5 "$TIMEOUT" "${command[@]}" </dev/null >"$DIR/console.txt" 2>&1 \
		3>"$DIR/out.txt" 4>"$DIR/err.txt" 5>"$DIR/status.txt"
}

run_qemu()
{
	exec timeout -k 5 "$TIMEOUT" "${command[@]}" </dev/null >"$DIR/emulator.txt" 2>&1
}

# Turn the end of the guest into an exit status.
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
# Truncate, do not remove: the caller may already follow these files.
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
